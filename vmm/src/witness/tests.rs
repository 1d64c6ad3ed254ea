use std::sync::Arc;

use shared::stats::{DiskGroup, DiskWords};
use zerocopy::FromZeros;

use super::differences;
use crate::devices::virtio::blk::BlkCounters;

#[test]
fn what_differs_is_told_and_unknown_disks_are_left_out() {
    let disks = [("data".to_owned(), Arc::new(BlkCounters::default()))];
    let mut guest = DiskGroup::new_zeroed();
    guest.count = 2;
    guest.disks[0].id = DiskWords::id_of(b"data");
    guest.disks[1] = DiskWords { id: DiskWords::id_of(b"other"), reads: 9, ..DiskWords::default() };
    assert_eq!(differences(&guest, &disks), Vec::<String>::new());
    guest.disks[0].read_bytes = 512;
    assert_eq!(
        differences(&guest, &disks),
        ["disk.data.read_bytes: the guest has counted 512, the monitor 0"]
    );
}
