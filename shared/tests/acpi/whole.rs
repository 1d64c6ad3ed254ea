//! Sound tables: every field arrives where it belongs.

use super::*;
use shared::acpi::{
    CpuAffinity, IoApic, LocalApic, MAX_CPUS, MAX_NODES, MemoryAffinity, Override, Signature,
};

#[test]
fn both_versions_of_the_root_give_the_same_machine() {
    for root in [RootVersion::Xsdt, RootVersion::Rsdt] {
        let platform = two_nodes(root).memory().parse().unwrap();
        let madt = platform.madt;
        let cpu = |id| LocalApic { apic_id: id, acpi_uid: id };
        assert_eq!(madt.cpus[..], [cpu(0), cpu(1)]);
        assert_eq!(madt.io_apics[..], [IoApic { id: 0, address: 0xfec0_0000, gsi_base: 0 }]);
        assert_eq!(madt.overrides[..], [Override { source: 0, gsi: 2, flags: 0 }]);
        assert_eq!(madt.local_apic_address, 0xfee0_0000);
        assert_eq!((madt.disabled_cpus, madt.excess_cpus, madt.skipped_rows), (0, 0, 0));

        let numa = platform.numa.unwrap();
        assert_eq!(numa.domains[..], [0, 1]);
        assert_eq!(numa.cpus[..], [CpuAffinity { apic_id: 0, node: 0 }, CpuAffinity { apic_id: 1, node: 1 }]);
        let range =
            |base, size, node| MemoryAffinity { base, size, node, hot_pluggable: false, non_volatile: false };
        assert_eq!(
            numa.memory[..],
            [range(0, 640 << 10, 0), range(MIB, 255 * MIB, 0), range(256 * MIB, 256 * MIB, 1)]
        );
        assert_eq!(numa.memory[2].end(), 512 * MIB);
        assert_eq!(
            [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b)| numa.distance(a, b).unwrap()),
            [10, 21, 21, 10]
        );
        assert_eq!((numa.distance(0, 2), numa.distance(2, 0)), (None, None));
        assert_eq!((numa.distance_error, numa.skipped_rows), (None, 0));
    }
}

#[test]
fn wide_ids_and_disabled_cpus() {
    let madt = Machine::new(RootVersion::Xsdt)
        .madt(&[
            local_apic(7, 3, 1),
            local_apic(8, 4, 0),
            local_apic(9, 5, 2), // online capable is not enabled
            local_apic(0, 0xff, 0),
            x2apic(3, 1, 7), // the first CPU again
            x2apic(0x1_0000, 1, 0x2_0000),
            x2apic(0xff, 1, 12),
            x2apic(u32::MAX, 1, 13),
            vec![4, 6, 0xff, 0, 0, 1], // NMI wiring: of no interest
            [&[5, 12, 0, 0][..], &0x1_fee0_0000u64.to_le_bytes()].concat(),
        ])
        .memory()
        .parse()
        .unwrap()
        .madt;
    let ids: Vec<_> = madt.cpus.iter().map(|cpu| (cpu.apic_id, cpu.acpi_uid)).collect();
    assert_eq!(ids, [(3, 7), (0x1_0000, 0x2_0000), (0xff, 12)]);
    assert_eq!(madt.disabled_cpus, 3);
    assert_eq!(madt.skipped_rows, 2, "the repeated CPU and the broadcast id");
    assert_eq!(madt.local_apic_address, 0x1_fee0_0000);
}

#[test]
fn sparse_domains_become_dense_in_numeric_order() {
    let platform = Machine::new(RootVersion::Xsdt)
        .madt(&[])
        .srat(&[
            x2apic_affinity(0x0101_0003, 0x100, 1),
            cpu_affinity(0x0101_0001, 2, 1),
            cpu_affinity(9, 3, 0), // switched off: domain 9 does not exist
            memory_affinity(5, 0, MIB, 1 | 2),
            memory_affinity(0x0101_0003, MIB, MIB, 1 | 4),
            memory_affinity(8, 2 * MIB, MIB, 0),
            memory_affinity(8, 2 * MIB, 0, 1),
            vec![3, 4, 0, 0],
        ])
        .memory()
        .parse()
        .unwrap();
    let numa = platform.numa.unwrap();
    assert_eq!(numa.domains[..], [5, 0x0101_0001, 0x0101_0003]);
    assert_eq!((numa.node_of_cpu(0x100), numa.node_of_cpu(2), numa.node_of_cpu(3)), (Some(2), Some(1), None));
    let memory: Vec<_> = numa.memory.iter().map(|m| (m.node, m.hot_pluggable, m.non_volatile)).collect();
    assert_eq!(memory, [(0, true, false), (2, false, true)]);
    assert_eq!(numa.distance_error, Some(AcpiError::Missing { table: Signature::SLIT }));
    assert_eq!((numa.distance(0, 2), numa.distance(2, 2)), (Some(20), Some(10)));
    assert_eq!(numa.skipped_rows, 0);
}

#[test]
fn an_old_table_has_narrow_domains() {
    let rows = [cpu_affinity(0xabcd_ef01, 0, 1), memory_affinity(0xabcd_ef01, 0, MIB, 1)];
    let mut contents = vec![0; 12];
    contents.extend(rows.concat());
    let platform =
        Machine::new(RootVersion::Xsdt).madt(&[]).table(b"SRAT", 1, contents).memory().parse().unwrap();
    assert_eq!(platform.numa.unwrap().domains[..], [1]);
}

#[test]
fn distances_are_looked_up_by_domain() {
    let memory =
        [memory_affinity(2, 0, MIB, 1), memory_affinity(0, MIB, MIB, 1), memory_affinity(7, 2 * MIB, MIB, 1)];
    let numa = Machine::new(RootVersion::Xsdt)
        .madt(&[])
        .srat(&memory)
        // Domain 1 has no member: what stands there is not looked at.
        .slit(&[&[10, 0, 30], &[0, 0, 0], &[31, 0, 10]])
        .memory()
        .parse()
        .unwrap()
        .numa
        .unwrap();
    assert_eq!(numa.domains[..], [0, 2, 7]);
    let distances = |from| [0, 1, 2].map(|to| numa.distance(from, to).unwrap());
    assert_eq!([distances(0), distances(1), distances(2)], [[10, 30, 20], [31, 10, 20], [20, 20, 10]]);
    assert_eq!(numa.distance_error, None);
}

#[test]
fn lists_fill_up_and_say_so() {
    let cpus: Vec<_> = (0..70).map(|id| x2apic(id, 1, id)).collect();
    let mut rows: Vec<_> = (0..70).map(|id| x2apic_affinity(id % 10, id, 1)).collect();
    rows.extend((0..40).map(|i| memory_affinity(0, i * MIB, MIB, 1)));
    let platform = Machine::new(RootVersion::Xsdt).madt(&cpus).srat(&rows).memory().parse().unwrap();
    assert_eq!((platform.madt.cpus.len(), platform.madt.excess_cpus), (MAX_CPUS, 6));
    let numa = platform.numa.unwrap();
    assert_eq!(numa.domains[..], [0, 1, 2, 3, 4, 5, 6, 7], "the first to appear");
    assert_eq!(numa.domains.len(), MAX_NODES);
    // 14 CPUs of domains 8 and 9, 8 ranges over 32; 56 CPUs fit.
    assert_eq!((numa.cpus.len(), numa.memory.len(), numa.skipped_rows), (56, 32, 14 + 8));
}

#[test]
fn the_first_of_two_tables_counts() {
    let machine = Machine::new(RootVersion::Xsdt).madt(&[local_apic(0, 3, 1)]).madt(&[local_apic(0, 4, 1)]);
    assert_eq!(machine.memory().parse().unwrap().madt.cpus[0].apic_id, 3);
}

#[test]
fn a_machine_without_nodes_is_a_machine() {
    let platform = Machine::new(RootVersion::Xsdt).madt(&[local_apic(0, 0, 1)]).memory().parse().unwrap();
    assert_eq!(platform.madt.cpus.len(), 1);
    assert_eq!(platform.numa.err(), Some(AcpiError::Missing { table: Signature::SRAT }));
}
