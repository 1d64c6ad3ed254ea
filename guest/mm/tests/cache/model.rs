//! Every order in which a few requests can end.

use super::{Files, expected};
use mm::addr::PAGE_SIZE;
use mm::cache::FileAdvice;
use mm::errno::Errno;
use mm::port::{IoOp, PAGE_SECTORS};
use sim::DiskFault;

/// All orders of `left` requests, as the place of each in what is left.
fn orders(left: usize) -> Vec<Vec<usize>> {
    if left == 0 {
        return vec![Vec::new()];
    }
    let rest = orders(left - 1);
    (0..left).flat_map(|first| rest.iter().map(move |rest| [&[first], rest.as_slice()].concat())).collect()
}

/// Five requests end in each of the 120 orders, one of them in vain; pages are as their own request left them.
#[test]
fn requests_may_end_in_any_order() {
    for (n, order) in orders(5).into_iter().enumerate() {
        let files = Files::with_file(1, 1, 20);
        files.disk.set_max_pages(4);
        files.disk.hold(true);
        let broken = n as u64 % 5;
        let sectors = broken * 4 * PAGE_SECTORS..(broken + 1) * 4 * PAGE_SECTORS;
        files.disk.fail(DiskFault::new(IoOp::Read, sectors, u32::MAX));
        let file = files.open();
        files.cache().fadvise(file, 0, 0, FileAdvice::WillNeed, &files.world.frames);
        assert_eq!(files.disk.pending(), 5);
        for nth in order {
            let (cookie, result) = files.disk.finish(nth).unwrap();
            // SAFETY: the disk ends each request once.
            unsafe { files.cache().io().end_io(cookie, result) };
        }
        files.disk.hold(false);
        let _ = files.requests();
        for request in 0..5 {
            let (pos, len) = (request * 4 * PAGE_SIZE, 4 * PAGE_SIZE);
            let told = files.read(file, pos, len);
            if request == broken {
                assert_eq!(told, Err(Errno::Eio));
            } else {
                assert_eq!(told.unwrap(), expected(pos, len));
            }
        }
        files.disk.heal();
        assert_eq!(files.read(file, 0, 20 * PAGE_SIZE).unwrap(), expected(0, 20 * PAGE_SIZE));
        files.verify(&[file.inode()]);
    }
}

/// Slow disks, by many seeds: a reader waits for what he needs, however late and in whatever order it comes.
#[test]
fn slow_disks_are_waited_for() {
    for seed in 0..50 {
        let files = Files::with_file(1, seed, 300);
        files.disk.set_delay(seed * 700);
        files.disk.set_max_pages(1 + seed as usize % 9);
        let file = files.open();
        assert_eq!(files.read(file, seed, 250 * PAGE_SIZE).unwrap(), expected(seed, 250 * PAGE_SIZE));
    }
}
