//! The register window: every offset and width, the status machine, negotiation, queue setup.

use std::sync::Arc;

use event_manager::{EventManager, SubscriberOps};
use virtio_bindings::virtio_mmio::*;

use super::blk::{get_id, temporary_disk};
use super::driver::*;
use crate::devices::bus::BusDevice;

const DESC_LOW: u32 = VIRTIO_MMIO_QUEUE_DESC_LOW;

fn registers(rig: &mut Rig) -> Vec<u32> {
    (0..0x100).step_by(4).map(|offset| rig.read(offset)).collect()
}

#[test]
fn identifies_itself() {
    let (mut rig, _) = temporary_disk();
    assert_eq!(rig.read(VIRTIO_MMIO_MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(rig.read(VIRTIO_MMIO_VERSION), 2);
    assert_eq!(rig.read(VIRTIO_MMIO_DEVICE_ID), 2);
    assert_ne!(rig.read(VIRTIO_MMIO_VENDOR_ID), 0);
    assert_eq!(rig.read(VIRTIO_MMIO_SHM_LEN_LOW), u32::MAX);
    assert_eq!(rig.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 512);
    rig.write(VIRTIO_MMIO_QUEUE_SEL, 1);
    assert_eq!(rig.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    rig.write(VIRTIO_MMIO_QUEUE_SEL, u32::MAX);
    assert_eq!(rig.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
}

#[test]
fn feature_selectors_show_one_half_each() {
    let (mut rig, _) = temporary_disk();
    let offered = rig.offered();
    assert_eq!(offered & (VERSION_1 | EVENT_IDX), VERSION_1 | EVENT_IDX);
    for select in [2, 3, u32::MAX] {
        rig.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, select);
        assert_eq!(rig.read(VIRTIO_MMIO_DEVICE_FEATURES), 0);
    }
}

#[test]
fn only_aligned_32_bit_accesses_reach_registers() {
    let (mut rig, _) = temporary_disk();
    rig.bring_up(EVENT_IDX, 1, 16);
    let before = registers(&mut rig);
    for offset in 0..0x100u64 {
        for width in [1usize, 2, 4, 8] {
            if width == 4 && offset % 4 == 0 {
                continue;
            }
            let mut data = vec![0xee; width];
            rig.transport.read(offset, &mut data);
            assert_eq!(data, vec![0; width], "read of {width} at {offset:#x}");
            for fill in [0, 1, 0xff] {
                rig.transport.write(offset, &vec![fill; width]);
            }
        }
    }
    assert_eq!(registers(&mut rig), before);
    assert_eq!(rig.run(), 0);
    assert_eq!(get_id(&mut rig), b"disk");
}

#[test]
fn every_offset_and_width_is_answered() {
    let far = [0xffc, 0xfff, 0x1000, u64::from(u32::MAX), 1 << 32, u64::MAX - 8, u64::MAX];
    let (mut rig, _) = temporary_disk();
    for active in [false, true] {
        for offset in (0..0x200).chain(far) {
            for width in [0usize, 1, 2, 4, 8, 16] {
                for fill in [0xff, 0xa5, 0x01, 0x00] {
                    if active {
                        rig.bring_up(EVENT_IDX, 1, 16);
                    }
                    rig.transport.write(offset, &vec![fill; width]);
                    let mut data = vec![0xee; width];
                    rig.transport.read(offset, &mut data);
                    rig.run();
                }
            }
        }
    }
    rig.bring_up(EVENT_IDX, 1, 16);
    assert_eq!(get_id(&mut rig), b"disk");
}

#[test]
fn config_space_takes_any_width() {
    let (mut rig, _) = temporary_disk();
    let whole: [u8; 64] = rig.config(0);
    assert_eq!(whole[..8], 2048u64.to_le_bytes());
    assert_eq!(whole[60..], [0; 4]);
    for offset in 0..64 {
        let at = offset as usize;
        let padded = [&whole[..], &[0; 8]].concat();
        assert_eq!(rig.config::<1>(offset)[..], padded[at..at + 1]);
        assert_eq!(rig.config::<2>(offset)[..], padded[at..at + 2]);
        assert_eq!(rig.config::<4>(offset)[..], padded[at..at + 4]);
        assert_eq!(rig.config::<8>(offset)[..], padded[at..at + 8]);
    }
    rig.transport.write(0x100, &[0xff; 8]);
    assert_eq!(rig.config::<64>(0), whole);
}

#[test]
fn status_bits_come_in_order() {
    let (mut rig, _) = temporary_disk();
    for early in [DRIVER, FEATURES_OK, DRIVER_OK, DRIVER | FEATURES_OK | DRIVER_OK] {
        rig.write(VIRTIO_MMIO_STATUS, early);
        assert_eq!(rig.status(), 0);
    }
    rig.write(VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER);
    assert_eq!(rig.status(), ACKNOWLEDGE | DRIVER);
    rig.write(VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert_eq!(rig.status(), ACKNOWLEDGE | DRIVER);
    rig.write(VIRTIO_MMIO_STATUS, ACKNOWLEDGE);
    assert_eq!(rig.status(), ACKNOWLEDGE | DRIVER, "a driver cannot clear single bits");
    rig.write(VIRTIO_MMIO_STATUS, FAILED | NEEDS_RESET | 0xffff_ff00);
    assert_eq!(rig.status(), ACKNOWLEDGE | DRIVER | FAILED);
    rig.write(VIRTIO_MMIO_STATUS, 0);
    assert_eq!(rig.status(), 0);
}

#[test]
fn features_are_checked_and_then_frozen() {
    let (mut rig, _) = temporary_disk();
    let offered = rig.offered();
    assert!(!rig.negotiate(0), "VERSION_1 is a must");
    assert!(!rig.negotiate(VERSION_1 | 1 << 5), "read-only was not offered");
    assert!(!rig.negotiate(VERSION_1 | 1 << 34), "packed rings were not offered");
    assert!(rig.negotiate(offered));
    rig.accept(0);
    rig.set_up_queue(0, 16);
    rig.driver_ok();
    assert_eq!(get_id(&mut rig), b"disk");
    let ring = rig.rings[0];
    let avail_event = rig.get(ring.avail_event(), 2);
    assert_eq!(avail_event, 1u16.to_le_bytes(), "the late write did not take event indices back");
}

/// Brings a disk to FEATURES_OK, has `spoil` set queue 0 up, and expects it to fail at DRIVER_OK.
fn expect_bad_queue(what: &str, spoil: impl Fn(&mut Rig)) {
    let (mut rig, _) = temporary_disk();
    for _ in 0..2 {
        assert!(rig.negotiate(VERSION_1));
        rig.write(VIRTIO_MMIO_QUEUE_SEL, 0);
        rig.write(VIRTIO_MMIO_QUEUE_NUM, 16);
        rig.write_queue_addresses([0x1_0000, 0x1_2000, 0x1_3000]);
        spoil(&mut rig);
        rig.write(VIRTIO_MMIO_QUEUE_READY, 1);
        rig.interrupts();
        rig.driver_ok();
        assert_eq!(rig.status() & (DRIVER_OK | NEEDS_RESET), DRIVER_OK | NEEDS_RESET, "{what}");
        assert_eq!(rig.read(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG, "{what}");
        assert_eq!(rig.interrupts(), 1, "{what}");
        assert!(rig.transport.fault().unwrap().contains("queue 0"), "{what}");
        rig.kick(0);
    }
    rig.bring_up(0, 1, 16);
    assert_eq!(get_id(&mut rig), b"disk", "{what}");
}

#[test]
fn bad_queue_sizes_are_refused() {
    for size in [0, 3, 15, 1024, 32768, 65536, 65536 + 16, u32::MAX] {
        expect_bad_queue(&format!("size {size}"), |rig| rig.write(VIRTIO_MMIO_QUEUE_NUM, size));
    }
}

#[test]
fn bad_ring_addresses_are_refused() {
    let good = [0x1_0000, 0x1_2000, 0x1_3000];
    // Misaligned; in the hole; running into the hole; past all RAM; wrapping around.
    let bad = [
        (0, 0x1_0008),
        (1, 0x1_2001),
        (2, 0x1_3002),
        (0, HOLE),
        (1, HOLE + 0x1000),
        (2, HOLE),
        (0, HOLE - 16),
        (1, HOLE - 2),
        (2, HOLE - 4),
        (0, RAM_END),
        (2, RAM_END - 8),
        (0, u64::MAX - 15),
        (1, u64::MAX - 1),
        (2, u64::MAX - 3),
        (0, 1 << 63),
    ];
    for (which, address) in bad {
        let mut addresses = good;
        addresses[which] = address;
        expect_bad_queue(&format!("{addresses:x?}"), |rig| rig.write_queue_addresses(addresses));
    }
}

#[test]
fn a_queue_keeps_its_setup_while_it_is_ready() {
    let (mut rig, _) = temporary_disk();
    assert!(rig.negotiate(VERSION_1));
    rig.set_up_queue(0, 16);
    let spoil = |rig: &mut Rig| {
        rig.write(VIRTIO_MMIO_QUEUE_NUM, 3);
        rig.write_queue_addresses([HOLE; 3]);
    };
    spoil(&mut rig);
    rig.driver_ok();
    spoil(&mut rig);
    assert_eq!(get_id(&mut rig), b"disk");
}

#[test]
fn a_queue_can_be_set_up_again_before_driver_ok() {
    let (mut rig, _) = temporary_disk();
    assert!(rig.negotiate(VERSION_1));
    rig.write_queue_addresses([HOLE; 3]);
    rig.write(VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!(rig.read(VIRTIO_MMIO_QUEUE_READY), 1);
    rig.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(rig.read(VIRTIO_MMIO_QUEUE_READY), 0);
    rig.set_up_queue(0, 16);
    rig.driver_ok();
    assert_eq!(get_id(&mut rig), b"disk");
}

#[test]
fn a_stopped_queue_stays_stopped() {
    let (mut rig, _) = temporary_disk();
    rig.bring_up(0, 1, 16);
    rig.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(rig.read(VIRTIO_MMIO_QUEUE_READY), 0);
    rig.write(VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!(rig.read(VIRTIO_MMIO_QUEUE_READY), 0);
    rig.submit(0, &[out(BUFFERS, 16), into(BUFFERS + 16, 1)]);
    rig.kick(0);
    assert_eq!(rig.used(0), []);
    assert_eq!(rig.transport.fault(), None);
}

#[test]
fn a_queue_that_is_not_ready_is_not_served() {
    let (mut rig, _) = temporary_disk();
    assert!(rig.negotiate(VERSION_1));
    rig.driver_ok();
    rig.kick(0);
    assert_eq!(rig.status() & NEEDS_RESET, 0);
    assert_eq!(rig.read(DESC_LOW), 0);
}

#[test]
fn nothing_is_served_before_driver_ok() {
    let (mut rig, _) = temporary_disk();
    assert!(rig.negotiate(VERSION_1));
    rig.set_up_queue(0, 16);
    rig.put(BUFFERS, &[8, 0, 0, 0]);
    rig.submit(0, &[out(BUFFERS, 16), into(BUFFERS + 16, 21)]);
    rig.kick(0);
    assert_eq!(rig.used(0), []);
    rig.driver_ok();
    rig.kick(0);
    assert_eq!(rig.used(0).len(), 1);
}

#[test]
fn interrupts_are_raised_and_acknowledged() {
    let (mut rig, _) = temporary_disk();
    rig.bring_up(0, 1, 16);
    for _ in 0..3 {
        assert_eq!(rig.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
        get_id(&mut rig);
        assert_eq!(rig.interrupts(), 1);
        assert_eq!(rig.read(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
        rig.write(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
        assert_eq!(rig.read(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
        rig.write(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    }
}

#[test]
fn a_reset_forgets_requests_and_registers() {
    let (mut rig, _) = temporary_disk();
    let fresh = registers(&mut rig);
    rig.bring_up(EVENT_IDX, 1, 16);
    get_id(&mut rig);
    rig.submit(0, &[out(BUFFERS, 16), into(BUFFERS + 16, 1)]);
    rig.transport.write(u64::from(VIRTIO_MMIO_QUEUE_NOTIFY), &0u32.to_le_bytes());
    rig.write(VIRTIO_MMIO_STATUS, 0);
    assert_eq!(registers(&mut rig), fresh);
    rig.run();
    assert_eq!(rig.used(0), [], "a request that was waiting at the reset is never served");
    rig.bring_up(0, 1, 8);
    assert_eq!(get_id(&mut rig), b"disk");
}

#[test]
fn resets_race_with_requests() {
    let (mut rig, _) = temporary_disk();
    let events = rig.transport.events();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let worker = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                events.serve(0);
            }
        }
    });
    for round in 0..300 {
        rig.bring_up(if round % 2 == 0 { EVENT_IDX } else { 0 }, 1, 16);
        rig.put(BUFFERS, &[8, 0, 0, 0]);
        for _ in 0..8 {
            rig.submit(0, &[out(BUFFERS, 16), into(BUFFERS + 16, 21)]);
        }
        rig.write(VIRTIO_MMIO_STATUS, 0);
        let after = rig.used(0).len();
        assert!(after <= 8);
        std::thread::yield_now();
        assert_eq!(rig.used(0), [], "no completion after the reset has returned");
        assert_eq!(rig.transport.fault(), None);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    worker.join().unwrap();
}

#[test]
fn an_event_loop_serves_the_queues() {
    let console = super::console::started(tempfile::tempfile().unwrap());
    let mut rig = Rig::ready(console.clone(), EVENT_IDX, 2);
    let mut manager = EventManager::new().unwrap();
    manager.add_subscriber(rig.transport.events());
    rig.put(BUFFERS, b"hello");
    rig.submit(1, &[out(BUFFERS, 5)]);
    assert_eq!(manager.run_with_timeout(0).unwrap(), 0);
    rig.write(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    assert_eq!(manager.run_with_timeout(1000).unwrap(), 1);
    assert_eq!(manager.run_with_timeout(0).unwrap(), 0, "the eventfd was drained");
    assert_eq!(rig.used(1).len(), 1);
    console.lock().unwrap().push_input(b"x");
    assert_eq!(manager.run_with_timeout(1000).unwrap(), 1, "input rings the receive queue");
}

#[test]
fn notifications_of_queues_that_do_not_exist_are_ignored() {
    let (mut rig, _) = temporary_disk();
    rig.bring_up(0, 1, 16);
    for queue in [1, 2, 255, 65536, u32::MAX] {
        rig.write(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
        assert_eq!(rig.run(), 0);
        rig.events.serve(queue as usize);
    }
    assert_eq!(rig.transport.fault(), None);
}
