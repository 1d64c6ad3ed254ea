//! Tables with random damage: whatever the bytes, the parser ends soon, does not panic, and what it hands
//! out keeps its promises.

use super::*;
use proptest::prelude::*;
use shared::acpi::{MAX_CPUS, MAX_MEMORY_RANGES, MAX_NODES};

/// Reads that the sound machine needs are below 200; damage may send the parser through a mebibyte of
/// checksums, in steps of 256 bytes, for each of four tables.
const MOST_READS: u64 = 100_000;

fn check(memory: &Memory) -> bool {
    let result = memory.parse();
    assert!(memory.reads.get() < MOST_READS, "{} reads", memory.reads.get());
    let Ok(platform) = result else { return false };
    assert!(platform.madt.cpus.len() <= MAX_CPUS);
    for (i, cpu) in platform.madt.cpus.iter().enumerate() {
        assert!(platform.madt.cpus[..i].iter().all(|other| other.apic_id != cpu.apic_id));
    }
    let Ok(numa) = platform.numa else { return false };
    let nodes = numa.domains.len();
    assert!(nodes <= MAX_NODES && numa.domains.is_sorted_by(|a, b| a < b));
    assert!(numa.memory.len() <= MAX_MEMORY_RANGES);
    assert!(numa.cpus.iter().all(|cpu| usize::from(cpu.node) < nodes));
    assert!(numa.memory.iter().all(|range| usize::from(range.node) < nodes && range.base < range.end()));
    for from in 0..nodes as u8 {
        for to in 0..nodes as u8 {
            let distance = numa.distance(from, to).unwrap();
            assert!(if from == to { distance == 10 } else { distance > 10 });
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    /// Damage with right checksums, so that it gets past them.
    #[test]
    fn sealed(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), v1: bool) {
        let root = if v1 { RootVersion::Rsdt } else { RootVersion::Xsdt };
        let sound = two_nodes(root).bytes();
        let starts: Vec<_> = [b"APIC", b"SRAT", b"SLIT", if v1 { b"RSDT" } else { b"XSDT" }]
            .into_iter()
            .map(|signature| find(&sound, signature))
            .collect();
        let mut bytes = sound;
        for (index, value) in damage {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        seal_root(&mut bytes);
        for start in starts {
            reseal(&mut bytes, start);
        }
        check(&Memory::new(bytes));
    }

    /// Damage as it comes.
    #[test]
    fn unsealed(at: prop::sample::Index, value: u8, cut: prop::sample::Index) {
        let mut bytes = two_nodes(RootVersion::Xsdt).bytes();
        let at = at.index(bytes.len());
        bytes[at] = value;
        check(&Memory::new(bytes.clone()));
        bytes.truncate(cut.index(bytes.len()));
        check(&Memory::new(bytes));
    }

    /// Rows of any kind and length with any contents.
    #[test]
    fn random_rows(madt in rows(), srat in rows(), matrix: Vec<u8>, domains in 0u64..20) {
        let slit = [&domains.to_le_bytes()[..], &matrix].concat();
        let machine = Machine::new(RootVersion::Xsdt).madt(&madt).srat(&srat).table(b"SLIT", 1, slit);
        check(&machine.memory());
    }
}

/// Rows with a right length byte and anything else.
fn rows() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let row = (0..10u8, prop::collection::vec(any::<u8>(), 0..48))
        .prop_map(|(kind, body)| [&[kind, body.len() as u8 + 2][..], &body].concat());
    prop::collection::vec(row, 0..100)
}

#[test]
fn the_sound_machine_passes_the_same_check() {
    let memory = two_nodes(RootVersion::Xsdt).memory();
    assert!(check(&memory));
    assert!(memory.reads.get() < 200, "{} reads", memory.reads.get());
}
