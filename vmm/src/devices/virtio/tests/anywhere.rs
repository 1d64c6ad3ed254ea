//! Rings that lie anywhere: on top of each other, across the ends of RAM, in buffers that the device writes to; and
//! resets, stops and notifications at any time. RAM ends in pages that nobody may touch, so a device that is led out
//! of it ends the test.

use proptest::prelude::*;
use virtio_bindings::virtio_mmio::*;

use super::blk::{get_id, temporary_disk};
use super::driver::*;
use crate::devices::virtio::SharedVirtioDevice;

/// One thing a driver, or the guest's CPU, may do.
#[derive(Clone, Debug)]
enum Step {
    /// Sets up a queue: index, size, addresses.
    Place(u32, u32, [u64; 3]),
    /// Fills RAM with descriptors that name `address`.
    Fill(u64, u64),
    /// Writes a word anywhere.
    Poke(u64, u64),
    /// Notifies a queue, and lets the device work or not.
    Notify(u32, bool),
    /// Writes the status register.
    Status(u32),
    /// Writes QueueReady of a queue.
    Ready(u32, u32),
}

fn address() -> impl Strategy<Value = u64> {
    let near =
        |base: u64| (0u64..0x2000).prop_map(move |delta| base.wrapping_add(delta).wrapping_sub(0x1000));
    prop_oneof![
        8 => (0u64..0x100).prop_map(|page| page << 8),
        2 => near(HOLE),
        2 => near(REGIONS[1]),
        2 => near(RAM_END),
        1 => near(0),
        1 => any::<u64>(),
    ]
    .prop_flat_map(|address| prop_oneof![3 => Just(address & !0xf), 1 => Just(address)])
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![Just(1u32), Just(2), Just(16), Just(256), any::<u32>()];
    let status = prop_oneof![4 => Just(0xfu32), 2 => Just(0), 1 => any::<u32>()];
    prop_oneof![
        3 => (0u32..3, size, [address(), address(), address()]).prop_map(|(q, n, a)| Step::Place(q, n, a)),
        3 => (address(), address()).prop_map(|(from, to)| Step::Fill(from, to)),
        3 => (address(), any::<u64>()).prop_map(|(at, word)| Step::Poke(at, word)),
        6 => (0u32..3, any::<bool>()).prop_map(|(queue, works)| Step::Notify(queue, works)),
        2 => status.prop_map(Step::Status),
        1 => (0u32..3, 0u32..2).prop_map(|(queue, ready)| Step::Ready(queue, ready)),
    ]
}

/// Writes as much of `bytes` as there is RAM for.
fn poke(rig: &Rig, address: u64, bytes: &[u8]) {
    let _ = vm_memory::Bytes::write(rig.memory.as_ref(), bytes, vm_memory::GuestAddress(address));
}

fn take(rig: &mut Rig, step: &Step) {
    match *step {
        Step::Place(queue, size, addresses) => {
            rig.write(VIRTIO_MMIO_QUEUE_SEL, queue);
            rig.write(VIRTIO_MMIO_QUEUE_NUM, size);
            rig.write_queue_addresses(addresses);
            rig.write(VIRTIO_MMIO_QUEUE_READY, 1);
        }
        Step::Fill(from, to) => {
            let flags = [NEXT, NEXT | WRITE, WRITE, INDIRECT];
            for slot in 0..16u16 {
                let flags = flags[usize::from(slot) % flags.len()];
                let desc = Desc { address: to, len: 16 << (slot % 12), flags };
                poke(
                    rig,
                    from.wrapping_add(16 * u64::from(slot)),
                    &descriptor_bytes(desc, slot.wrapping_add(1) % 16),
                );
            }
        }
        Step::Poke(at, word) => poke(rig, at, &word.to_le_bytes()),
        Step::Notify(queue, works) => {
            rig.write(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
            if works {
                rig.run();
            }
        }
        Step::Status(value) => rig.write(VIRTIO_MMIO_STATUS, value),
        Step::Ready(queue, ready) => {
            rig.write(VIRTIO_MMIO_QUEUE_SEL, queue);
            rig.write(VIRTIO_MMIO_QUEUE_READY, ready);
        }
    }
}

/// Whether the device can still be brought up from scratch.
fn recovers(rig: &mut Rig, queues: usize) {
    rig.run();
    rig.bring_up(0, queues, 16);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_survives_rings_anywhere(
        features in prop_oneof![Just(0), Just(EVENT_IDX)],
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let (mut rig, _) = temporary_disk();
        rig.negotiate(VERSION_1 | features);
        steps.iter().for_each(|step| take(&mut rig, step));
        recovers(&mut rig, 1);
        prop_assert_eq!(get_id(&mut rig), b"disk");
    }

    #[test]
    fn a_console_survives_rings_anywhere(
        features in prop_oneof![Just(0), Just(EVENT_IDX)],
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let sink = std::fs::File::options().write(true).open("/dev/null").unwrap();
        let console = super::console::started(sink);
        console.lock().unwrap().push_input(&[0x42; 5000]);
        let device: SharedVirtioDevice = console;
        let mut rig = Rig::new(device);
        rig.negotiate(VERSION_1 | features);
        steps.iter().for_each(|step| take(&mut rig, step));
        recovers(&mut rig, 2);
        prop_assert_eq!(rig.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }
}
