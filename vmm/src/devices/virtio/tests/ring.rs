//! Ring mechanics: event indices, interrupt suppression, wrap-around, fairness.

use vm_memory::{Bytes, GuestAddress};

use super::blk::{HEADER, STATUS, get_id, put_header, temporary_disk};
use super::driver::*;

const GET_ID: u32 = 8;
const CHAIN: [Desc; 3] = [
    Desc { address: HEADER, len: 16, flags: 0 },
    into_data(),
    Desc { address: STATUS, len: 1, flags: WRITE },
];

const fn into_data() -> Desc {
    Desc { address: BUFFERS + 0x1000, len: 20, flags: WRITE }
}

fn disk(features: u64, size: u16) -> Rig {
    let (mut rig, _) = temporary_disk();
    rig.bring_up(features, 1, size);
    put_header(&rig, GET_ID, 0);
    rig
}

/// Submits `count` chains that share their descriptors, which needs no more than three.
fn submit(rig: &mut Rig, count: usize) {
    rig.rings[0].next_desc = 0;
    rig.submit(0, &CHAIN);
    for _ in 1..count {
        rig.publish(0, 0);
    }
}

fn set_used_event(rig: &Rig, value: u16) {
    rig.memory.write_obj(value, GuestAddress(rig.rings[0].used_event())).unwrap();
}

fn avail_event(rig: &Rig) -> u16 {
    rig.memory.read_obj(GuestAddress(rig.rings[0].avail_event())).unwrap()
}

#[test]
fn without_event_idx_flags_decide() {
    let mut rig = disk(0, 16);
    submit(&mut rig, 1);
    rig.kick(0);
    assert_eq!(rig.interrupts(), 1);
    let flags = rig.rings[0].avail_ring();
    rig.put(flags, &1u16.to_le_bytes());
    submit(&mut rig, 3);
    rig.kick(0);
    assert_eq!((rig.used(0).len(), rig.interrupts()), (4, 0), "VRING_AVAIL_F_NO_INTERRUPT");
    rig.put(flags, &0u16.to_le_bytes());
    submit(&mut rig, 3);
    rig.kick(0);
    assert_eq!((rig.used(0).len(), rig.interrupts()), (3, 1), "one interrupt for a batch");
    let no_notify = rig.get(rig.rings[0].used_ring(), 2);
    assert_eq!(no_notify, [0, 0], "an idle device wants notifications");
}

#[test]
fn event_idx_suppresses_interrupts() {
    let mut rig = disk(EVENT_IDX, 16);
    // Interrupt me when entry 4 is used: after five completions.
    set_used_event(&rig, 4);
    for done in 1..=4 {
        submit(&mut rig, 1);
        rig.kick(0);
        assert_eq!(rig.interrupts(), 0, "after {done}");
    }
    submit(&mut rig, 1);
    rig.kick(0);
    assert_eq!(rig.interrupts(), 1);
    submit(&mut rig, 1);
    rig.kick(0);
    assert_eq!(rig.interrupts(), 0, "asked for one only");
    set_used_event(&rig, 8);
    submit(&mut rig, 6);
    rig.kick(0);
    assert_eq!(rig.interrupts(), 1, "the batch passes the index");
}

#[test]
fn event_idx_asks_for_the_next_notification_only() {
    let mut rig = disk(EVENT_IDX, 16);
    assert_eq!(avail_event(&rig), 0);
    submit(&mut rig, 5);
    rig.kick(0);
    assert_eq!(rig.used(0).len(), 5);
    assert_eq!(avail_event(&rig), 5);
    submit(&mut rig, 1);
    rig.kick(0);
    assert_eq!(avail_event(&rig), 6);
}

#[test]
fn a_kick_without_work_is_harmless() {
    for features in [0, EVENT_IDX] {
        let mut rig = disk(features, 16);
        for _ in 0..3 {
            rig.kick(0);
        }
        assert_eq!((rig.used(0), rig.interrupts()), (vec![], 0));
        assert_eq!(get_id(&mut rig), b"disk");
    }
}

#[test]
fn indices_wrap_around() {
    for (features, size) in [(0, 4), (EVENT_IDX, 256)] {
        let mut rig = disk(features, size);
        let batch = usize::from(size);
        let mut done = 0;
        while done < 65536 + 2 * batch {
            // Interrupt on the last entry of the batch.
            set_used_event(&rig, rig.rings[0].seen.wrapping_add(size - 1));
            submit(&mut rig, batch);
            rig.kick(0);
            let used = rig.used(0);
            assert_eq!(used, vec![Used { head: 0, len: 21 }; batch], "after {done}");
            assert!(rig.interrupts() >= 1, "after {done}");
            done += batch;
        }
        assert_eq!(rig.transport.fault(), None);
    }
}

#[test]
fn a_full_ring_is_served_in_fair_passes() {
    let mut rig = disk(0, 256);
    submit(&mut rig, 256);
    rig.write(virtio_bindings::virtio_mmio::VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    rig.transport.queue_events()[0].read().unwrap();
    rig.events.serve(0);
    let first = rig.used(0).len();
    assert!((1..256).contains(&first), "{first}");
    let used_flags = rig.rings[0].used_ring();
    assert_eq!(rig.get(used_flags, 2), 1u16.to_le_bytes(), "VRING_USED_F_NO_NOTIFY between passes");
    assert!(rig.run() >= 1, "the device rings its own bell for the rest");
    assert_eq!(first + rig.used(0).len(), 256);
    assert_eq!(rig.get(used_flags, 2), [0, 0]);
}
