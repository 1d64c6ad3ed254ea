use std::collections::BTreeMap;
use std::sync::Arc;

use shared::stats::{DiskGroup, DiskWords};
use zerocopy::FromZeros;

use super::{Told, differences, told};
use crate::devices::virtio::blk::BlkCounters;

type Disks = [(String, Arc<BlkCounters>); 1];

fn disks() -> Disks {
    [("data".to_owned(), Arc::new(BlkCounters::default()))]
}

fn guest(words: DiskWords, swapped: [u64; 2]) -> Told {
    let mut guest = DiskGroup::new_zeroed();
    guest.count = 2;
    guest.disks[0] = DiskWords { id: DiskWords::id_of(b"data"), ..words };
    guest.disks[1] = DiskWords { id: DiskWords::id_of(b"other"), reads: 9, ..DiskWords::default() };
    Told { disks: guest, swapped, page_faults: 7, pressure_events: 8 }
}

#[test]
fn what_differs_is_told_and_unknown_disks_are_left_out() {
    let told = |words| differences(&guest(words, [0, 0]), &disks(), &BTreeMap::new());
    assert_eq!(told(DiskWords::default()), Vec::<String>::new());
    assert_eq!(
        told(DiskWords { read_bytes: 512, ..DiskWords::default() }),
        ["disk.data.read_bytes: the guest has counted 512, the monitor 0"]
    );
}

#[test]
fn what_was_booked_is_compared_in_bytes_whatever_its_unit() {
    let booked = |ledger| DiskWords { ledger, ..DiskWords::default() };
    // A page of swap, a page of a file that lacks 512 bytes, 100 and 10 others; the same out; two slots given back.
    let words = booked([1, 1, 1, 1, 512, 512, 100, 100, 10, 10, 0, 0, 2]);
    assert_eq!(words.booked_bytes(), [4096 + 3584 + 110, 4096 + 3584 + 110, 8192]);
    let told = |ledger, swapped| differences(&guest(booked(ledger), swapped), &disks(), &BTreeMap::new());
    assert_eq!(
        told([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0]),
        ["disk.data.read_bytes: the guest has booked 4096, the monitor has 0"]
    );
    // Pages that could not be moved moved no bytes, but were counted.
    assert_eq!(told([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 0], [3, 4]), Vec::<String>::new());
    assert_eq!(
        told([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 0], [3, 5]),
        ["pswpout: the guest has counted 5 pages, and booked 4 on its disks"]
    );
}

#[test]
fn ledgers_are_named_by_disk() {
    let words = DiskWords { ledger: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], ..DiskWords::default() };
    let (guest, disks) = (guest(words, [0, 0]), disks());
    let named: Vec<_> = told(&guest, &disks).collect();
    assert_eq!(named.len(), 15);
    assert_eq!(named[14], ("guest.pressure_events".to_owned(), 8));
    assert_eq!(named[13], ("guest.page_faults".to_owned(), 7));
    assert_eq!(named[1], ("guest.disk.data.swap_out_pages".to_owned(), 2));
    assert_eq!(named[11], ("guest.disk.data.swap_out_failed_pages".to_owned(), 12));
}

#[test]
fn page_faults_are_compared_where_kvm_sees_them() {
    let told = |writes, faults| {
        let counters = [("kvm.vm.mmu_pte_write", writes), ("kvm.vcpu.pf_guest", faults)];
        let counters = counters.map(|(name, value)| (name.to_owned(), value)).into();
        differences(&guest(DiskWords::default(), [0, 0]), &disks(), &counters)
    };
    assert_eq!(told(5, 7), Vec::<String>::new());
    assert_eq!(told(5, 8), ["page_faults: the guest has counted 7, KVM 8"]);
    // Tables of the processor's own.
    assert_eq!(told(0, 1), Vec::<String>::new());
}
