//! Chains that are no requests: answered with an error where a status byte can be found,
//! DEVICE_NEEDS_RESET where not. In both cases the disk works again, and nothing else changed.

use std::sync::Arc;

use virtio_bindings::virtio_mmio::*;

use super::blk::*;
use super::driver::*;
use crate::devices::virtio::blk::{BlkCounters, BlkTotals};

const DATA: u64 = BUFFERS + 0x1000;

/// A disk that is up, with the header of a read of sector 0 in place.
fn disk() -> (Rig, Arc<BlkCounters>) {
    let (mut rig, counters) = temporary_disk();
    rig.bring_up(0, 1, 16);
    put_header(&rig, IN, 0);
    (rig, counters)
}

/// The chain is answered with an I/O error and the disk goes on.
fn expect_error(chain: &[Desc]) {
    let (mut rig, counters) = disk();
    rig.request(0, chain);
    assert_eq!(counters.totals(), BlkTotals { errors: 1, ..BlkTotals::default() });
    assert_eq!(rig.get(STATUS, 1), [S_IOERR], "{chain:x?}");
    assert_eq!(rig.transport.fault(), None);
    assert_eq!(get_id(&mut rig), b"disk");
}

/// The device stops with a fault that says `reason`, and works again after a reset.
fn expect_fault(reason: &str, submit: impl FnOnce(&mut Rig)) {
    let (mut rig, _) = disk();
    submit(&mut rig);
    rig.interrupts();
    rig.kick(0);
    let fault = rig.transport.fault().expect("a fault");
    assert!(fault.contains(reason), "{fault}");
    assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET);
    assert_eq!(rig.read(VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_CONFIG);
    assert_eq!(rig.interrupts(), 1);
    assert_eq!(rig.used(0), []);
    assert_eq!(rig.get(STATUS, 1), [0xee], "no status byte was written");
    // Stopped: a good request is not served either.
    rig.submit(0, &[out(HEADER, 16), into(DATA, 512), into(STATUS, 1)]);
    rig.kick(0);
    assert_eq!(rig.used(0), []);
    rig.bring_up(0, 1, 16);
    assert_eq!(get_id(&mut rig), b"disk");
}

fn expect_chain_fault(reason: &str, chain: &[Desc]) {
    expect_fault(reason, |rig| {
        rig.submit(0, chain);
    });
}

#[test]
fn header_problems_are_answered() {
    expect_error(&[into(HEADER, 16), into(DATA, 512), into(STATUS, 1)]);
    expect_error(&[out(HEADER, 15), into(DATA, 512), into(STATUS, 1)]);
    expect_error(&[out(HEADER, 0), into(DATA, 512), into(STATUS, 1)]);
    expect_error(&[into(DATA, 512), into(STATUS, 1)]);
    expect_error(&[into(STATUS, 1)]);
    expect_error(&[out(HOLE, 16), into(DATA, 512), into(STATUS, 1)]);
    expect_error(&[out(HOLE - 8, 16), into(DATA, 512), into(STATUS, 1)]);
    expect_error(&[out(u64::MAX - 7, 16), into(DATA, 512), into(STATUS, 1)]);
    expect_error(&[out(HEADER, 8), out(u64::MAX, 8), into(STATUS, 1)]);
}

#[test]
fn data_problems_are_answered() {
    expect_error(&[out(HEADER, 16), into(HOLE, 512), into(STATUS, 1)]);
    expect_error(&[out(HEADER, 16), into(HOLE - 256, 512), into(STATUS, 1)]);
    expect_error(&[out(HEADER, 16), into(RAM_END - 256, 512), into(STATUS, 1)]);
    expect_error(&[out(HEADER, 16), into(u64::MAX - 255, 512), into(STATUS, 1)]);
    expect_error(&[out(HEADER, 16), into(DATA, u32::MAX - 17), into(STATUS, 1)]);
    expect_error(&[out(HEADER, 16), into(DATA, 512), out(DATA, 512), into(STATUS, 1)]);
}

#[test]
fn no_status_byte_stops_the_disk() {
    expect_chain_fault("no room for the status", &[out(HEADER, 16)]);
    expect_chain_fault("no room for the status", &[out(HEADER, 16), out(DATA, 512)]);
    expect_chain_fault("no room for the status", &[out(HEADER, 16), into(STATUS, 0)]);
    expect_chain_fault("status byte is not in guest memory", &[out(HEADER, 16), into(HOLE, 1)]);
    expect_chain_fault("status byte is not in guest memory", &[out(HEADER, 16), into(HOLE - 1, 2)]);
    expect_chain_fault("status byte is not in guest memory", &[out(HEADER, 16), into(u64::MAX, 2)]);
}

#[test]
fn broken_links_stop_the_disk() {
    let linked = |rig: &mut Rig, next: u16| {
        rig.write_desc(0, 0, Desc { flags: NEXT, ..out(HEADER, 16) }, 1);
        rig.write_desc(0, 1, Desc { flags: NEXT | WRITE, ..into(STATUS, 1) }, next);
        rig.publish(0, 0);
    };
    // A loop of one, of two, and a link out of the table.
    for next in [1, 0, 16, u16::MAX] {
        expect_fault("loops or leaves", |rig| linked(rig, next));
    }
    // More than 4 GiB in one chain.
    let huge = [out(HEADER, 16), into(DATA, u32::MAX), into(STATUS, 1)];
    expect_chain_fault("loops or leaves", &huge);
}

#[test]
fn broken_indirect_tables_stop_the_disk() {
    let indirect = |address, len| Desc { address, len, flags: INDIRECT };
    for table in [indirect(DATA, 0), indirect(DATA, 17), indirect(HOLE, 32), indirect(u64::MAX - 15, 32)] {
        expect_chain_fault("cannot be read", &[table]);
        expect_chain_fault("loops or leaves", &[out(HEADER, 16), table]);
    }
    // A table in a table.
    expect_fault("cannot be read", |rig| {
        rig.put(DATA, &descriptor_bytes(indirect(DATA + 64, 32), 0));
        rig.submit(0, &[indirect(DATA, 16)]);
    });
}

#[test]
fn broken_rings_stop_the_disk() {
    // A head outside the table.
    expect_fault("cannot be read", |rig| rig.publish(0, 16));
    // More available entries than the ring has.
    expect_fault("ring", |rig| rig.put(rig.rings[0].avail_ring() + 2, &17u16.to_le_bytes()));
    expect_fault("ring", |rig| rig.put(rig.rings[0].avail_ring() + 2, &u16::MAX.to_le_bytes()));
}

#[test]
fn completed_requests_before_a_fault_stay_completed() {
    let (mut rig, _) = disk();
    let good = rig.submit(0, &[out(HEADER, 16), into(DATA, 512), into(STATUS, 1)]);
    rig.submit(0, &[out(HEADER, 16)]);
    rig.kick(0);
    assert_eq!(rig.used(0), [Used { head: good.into(), len: 513 }]);
    assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET);
}
