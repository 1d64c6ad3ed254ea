//! Random descriptors, rings and register writes: whatever a guest does, the host stays whole.
//!
//! The device may use the memory that device-writable descriptors name and the used ring, and
//! nothing else. Every byte outside those is compared before and after.

use std::ops::Range;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use virtio_bindings::virtio_mmio::*;
use vm_memory::{GuestAddress, GuestMemory, Permissions};

use super::blk::{get_id, put_header, temporary_disk};
use super::driver::*;
use crate::devices::bus::BusDevice;

const RING_SIZE: u16 = 16;

#[derive(Clone, Debug)]
struct Soup {
    descriptors: Vec<(Desc, u16)>,
    heads: Vec<u16>,
    features: u64,
    kind: u32,
    sector: u64,
}

fn address() -> impl Strategy<Value = u64> {
    let near = |base: u64| (0u64..0x40).prop_map(move |delta| base.wrapping_add(delta).wrapping_sub(0x20));
    prop_oneof![
        6 => BUFFERS..HOLE,
        4 => REGIONS[1]..RAM_END,
        1 => near(HOLE),
        1 => near(REGIONS[1]),
        1 => near(REGIONS[2]),
        1 => near(RAM_END),
        1 => near(0),
        1 => any::<u64>(),
    ]
}

fn descriptor() -> impl Strategy<Value = (Desc, u16)> {
    let len = prop_oneof![
        Just(0u32),
        Just(1),
        Just(16),
        Just(512),
        0u32..2048,
        (0u32..8).prop_map(|sectors| sectors * 512),
        any::<u32>(),
    ];
    let flags = prop_oneof![
        4 => Just(0u16),
        4 => Just(WRITE),
        6 => Just(NEXT),
        6 => Just(NEXT | WRITE),
        1 => Just(INDIRECT),
        1 => any::<u16>(),
    ];
    let next = prop_oneof![8 => 0..RING_SIZE, 1 => any::<u16>()];
    (address(), len, flags, next).prop_map(|(address, len, flags, next)| (Desc { address, len, flags }, next))
}

fn soup() -> impl Strategy<Value = Soup> {
    (
        prop::collection::vec(descriptor(), usize::from(RING_SIZE)),
        prop::collection::vec(prop_oneof![8 => 0..RING_SIZE, 1 => any::<u16>()], 1..20),
        prop_oneof![Just(0), Just(EVENT_IDX)],
        prop_oneof![Just(0u32), Just(1), Just(4), Just(8), Just(11), Just(13), any::<u32>()],
        prop_oneof![0u64..4096, any::<u64>()],
    )
        .prop_map(|(descriptors, heads, features, kind, sector)| Soup {
            descriptors,
            heads,
            features,
            kind,
            sector,
        })
}

/// All of guest RAM, with zeroes in the `skipped` ranges.
fn snapshot(rig: &Rig, skipped: &[Range<u64>]) -> Vec<Vec<u8>> {
    let copy = |start: u64| {
        let slice = rig.memory.get_slices(GuestAddress(start), REGION as usize, Permissions::Read);
        let guard = slice.unwrap().next().unwrap().unwrap().ptr_guard();
        // SAFETY: the whole region is mapped, and the device and all vCPUs are idle.
        let mut bytes = unsafe { std::slice::from_raw_parts(guard.as_ptr(), REGION as usize) }.to_vec();
        for range in skipped {
            let offset = |address: u64| address.clamp(start, start + REGION) - start;
            bytes[offset(range.start) as usize..offset(range.end) as usize].fill(0);
        }
        bytes
    };
    REGIONS.map(copy).into()
}

/// Puts the soup into `queue`, lets the device eat, and checks which memory changed.
fn feed(rig: &mut Rig, queue: usize, soup: &Soup) -> Result<(), TestCaseError> {
    put_header(rig, soup.kind, soup.sector);
    for (slot, (desc, next)) in (0..).zip(&soup.descriptors) {
        rig.write_desc(queue, slot, *desc, *next);
    }
    for head in &soup.heads {
        rig.publish(queue, *head);
    }
    // An indirect table in random memory can name anything; those cases only show survival.
    if soup.descriptors.iter().any(|(desc, _)| desc.flags & INDIRECT != 0) {
        rig.kick(queue as u32);
        return Ok(());
    }
    let writable = soup.descriptors.iter().filter(|(desc, _)| desc.flags & WRITE != 0);
    let mut allowed: Vec<_> =
        writable.map(|(desc, _)| desc.address..desc.address.saturating_add(desc.len.into())).collect();
    let used_ring = rig.rings[queue].used_ring();
    allowed.push(used_ring..used_ring + 6 + 8 * u64::from(RING_SIZE));
    let before = snapshot(rig, &allowed);
    rig.kick(queue as u32);
    prop_assert!(snapshot(rig, &allowed) == before, "memory changed that no descriptor names");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_survives_any_soup(soup in soup(), at_header in any::<bool>()) {
        let (mut rig, counters) = temporary_disk();
        rig.bring_up(soup.features, 1, RING_SIZE);
        let mut soup = soup;
        if at_header {
            // Half of the cases get past the header, to the data.
            soup.descriptors[0] = (Desc { flags: NEXT, ..out(super::blk::HEADER, 16) }, 1);
            soup.heads[0] = 0;
        }
        feed(&mut rig, 0, &soup)?;
        prop_assert!(counters.totals().read_bytes <= 20 * (1 << 20));
        rig.bring_up(0, 1, RING_SIZE);
        prop_assert_eq!(get_id(&mut rig), b"disk");
    }

    #[test]
    fn a_console_survives_any_soup(soup in soup(), queue in 0usize..2) {
        let sink = std::fs::File::options().write(true).open("/dev/null").unwrap();
        let console = super::console::started(sink);
        let mut rig = Rig::ready(console.clone(), soup.features, 2);
        console.lock().unwrap().push_input(&[0x42; 3000]);
        feed(&mut rig, queue, &soup)?;
        rig.bring_up(0, 2, RING_SIZE);
        rig.put(BUFFERS, b"ok");
        let head = rig.submit(1, &[out(BUFFERS, 2)]);
        rig.kick(1);
        // The sink may still be busy with what the soup printed; the device goes on when it has room.
        let deadline = Instant::now() + PATIENCE;
        let used = loop {
            match rig.used(1).pop() {
                Some(used) => break used,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                None => return Err(TestCaseError::fail("the device did not answer")),
            }
            rig.run();
        };
        prop_assert_eq!((used.head, used.len), (u32::from(head), 0));
    }

    #[test]
    fn a_transport_survives_any_writes(
        writes in prop::collection::vec((0u64..0x120, prop_oneof![Just(4usize), Just(1), Just(2), Just(8)], any::<u64>()), 1..200)
    ) {
        let (mut rig, _) = temporary_disk();
        rig.put(0, &vec![0x5a; 0x1_0000]);
        for (offset, width, value) in writes {
            // Half of the values are small enough to be addresses, sizes and status bits.
            let value = if value & 1 == 0 { value >> 1 } else { value >> 50 };
            rig.transport.write(offset & !3, &value.to_le_bytes()[..width]);
            let mut data = [0; 8];
            rig.transport.read(offset, &mut data[..width]);
            rig.run();
        }
        rig.bring_up(EVENT_IDX, 1, RING_SIZE);
        prop_assert_eq!(get_id(&mut rig), b"disk");
        prop_assert_ne!(rig.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    }
}
