//! Hits, misses, ends of files, holes, disks as files, and inodes.

use super::{Files, INO, expected};
use crate::vm::keep;
use mm::addr::PAGE_SIZE;
use mm::cache::{FileAdvice, FileMode};
use mm::errno::Errno;
use mm::port::PAGE_SECTORS;
use mm::vmstat::NodeStat;
use sim::{Disk, WholeDisk};

/// The second read of a file asks the disk for nothing; the first for every byte once (row T54).
#[test]
fn the_second_read_is_from_memory() {
    let files = Files::with_file(1, 1, 256);
    let file = files.open();
    let size = 256 * PAGE_SIZE;
    assert_eq!(files.read(file, 0, size).unwrap(), expected(0, size));
    assert_eq!(files.requests().iter().sum::<u64>(), 256);
    assert_eq!(files.sectors_in(), 256 * PAGE_SECTORS);
    assert_eq!(file.inode().mapping().nrpages(), 256);
    assert_eq!(files.read(file, 0, size).unwrap(), expected(0, size));
    assert!(files.requests().is_empty());
    assert_eq!(files.sectors_in(), 256 * PAGE_SECTORS);
    files.verify(&[file.inode()]);
}

#[test]
fn reads_end_where_the_file_does() {
    let files = Files::new(1, 2);
    files.fs.create(INO, 5 * PAGE_SIZE + 100);
    files.fs.place(INO, 0, 6, 80);
    let file = files.open();
    let size = file.inode().size();
    let start = 80 * 512;
    assert_eq!(files.read(file, size - 10, 100).unwrap(), expected(start + size - 10, 10));
    assert_eq!(files.read(file, size, 1).unwrap(), []);
    assert_eq!(files.read(file, u64::MAX - 3, 10).unwrap(), []);
    assert_eq!(files.read(file, 3, u64::MAX).unwrap(), expected(start + 3, size - 3));
    assert_eq!(files.read(file, 4090, 12).unwrap(), expected(start + 4090, 12));
    assert_eq!(files.read(file, 7, 0).unwrap(), []);
}

#[test]
fn a_file_that_is_not_open_for_reading_is_not_read() {
    let files = Files::with_file(1, 3, 4);
    let file =
        files.cache().open(files.fs, INO, 4 * PAGE_SIZE, FileMode::WRITE, &files.world.frames).unwrap();
    assert_eq!(files.read(file, 0, 1), Err(Errno::Eacces));
    files.disk.set_read_only(true);
    let refused = files.cache().open(files.fs, INO, 4 * PAGE_SIZE, FileMode::WRITE, &files.world.frames);
    assert_eq!(refused.err(), Some(Errno::Erofs));
}

/// Holes are zeroes and cost no request; what is between them is read in as few requests as there are extents.
#[test]
fn holes_are_zeroes_without_requests() {
    let files = Files::new(1, 4);
    files.fs.create(INO, 32 * PAGE_SIZE);
    // Pages 3 to 5, 6 and 7 elsewhere, 20.
    files.fs.place(INO, 3, 3, 800);
    files.fs.place(INO, 6, 2, 160);
    files.fs.place(INO, 20, 1, 1600);
    let file = files.open();
    let mut all = vec![0; 32 * PAGE_SIZE as usize];
    for (index, pages, sector) in [(3, 3, 800), (6, 2, 160), (20, 1, 1600)] {
        let bytes = expected(sector * 512, pages * PAGE_SIZE);
        all[(index * PAGE_SIZE) as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    assert_eq!(files.read(file, 0, 32 * PAGE_SIZE).unwrap(), all);
    let mut runs = files.runs();
    runs.sort_unstable();
    assert_eq!(runs, [(20, 2), (100, 3), (200, 1)]);
}

/// No request has more pages than the disk takes.
#[test]
fn requests_are_as_long_as_the_disk_allows() {
    let files = Files::with_file(1, 5, 64);
    files.disk.set_max_pages(5);
    let file = files.open();
    files.cache().fadvise(file, 0, 0, FileAdvice::WillNeed, &files.world.frames);
    files.settle();
    // As many as the larger of window and request.
    assert_eq!(files.requests(), [5, 5, 5, 5, 5, 5, 2]);
    assert_eq!(files.read(file, 0, 64 * PAGE_SIZE).unwrap(), expected(0, 64 * PAGE_SIZE));
}

/// A disk as one file; its last page is not whole.
#[test]
fn a_disk_is_a_file() {
    let files = Files::new(1, 6);
    let disk: &'static Disk<'static> = keep(Disk::new(files.world.machine(), 10 * PAGE_SECTORS + 3, 9));
    let size = (10 * PAGE_SECTORS + 3) * 512;
    disk.poke(0, &expected(0, size));
    let whole = keep(WholeDisk::new(disk));
    let file = files.open_on(whole, 0, size);
    assert_eq!(files.read(file, 0, 1 << 20).unwrap(), expected(0, size));
    let log = disk.take_log();
    assert_eq!(log.iter().map(|logged| logged.bytes).sum::<u64>(), size);
    assert_eq!(files.sectors_in(), size / 512);
}

/// An inode is in memory once, without users, too, and goes when it is dropped.
#[test]
fn inodes_stay_until_they_are_dropped() {
    let files = Files::with_file(1, 7, 8);
    let cache = files.cache();
    let (one, two) = (files.open(), files.open());
    assert!(std::ptr::eq(one.inode(), two.inode()));
    assert_eq!(one.inode().refs(), 2);
    files.read(one, 0, 8 * PAGE_SIZE).unwrap();
    // SAFETY: neither is used any more.
    unsafe { (cache.close(one), cache.close(two)) };
    assert!(files.requests().iter().sum::<u64>() == 8);
    let again = files.open();
    files.read(again, 0, 8 * PAGE_SIZE).unwrap();
    assert!(files.requests().is_empty(), "the pages stayed");
    let inode = again.inode();
    let mut seen = Vec::new();
    cache.for_each_inode(|inode| seen.push(inode.number()));
    assert_eq!(seen, [INO]);
    // SAFETY: nothing maps it, and no page is left where it says that it could.
    unsafe {
        assert!(!cache.drop_inode(files.fs, INO), "somebody has it");
        cache.close(again);
        assert!(!cache.drop_inode(files.fs, INO), "it has pages");
    }
    files.drop_pages(inode);
    assert_eq!(files.world.vm.stat().total(NodeStat::FilePages), 0);
    // SAFETY: as above.
    assert!(unsafe { cache.drop_inode(files.fs, INO) });
    assert!(cache.find_inode(files.fs, INO).is_none());
    cache.for_each_inode(|_| panic!("none is left"));
}

/// Many inodes with the same remainder are found and dropped in any order.
#[test]
fn inodes_share_buckets() {
    let files = Files::new(1, 8);
    let cache = files.cache();
    for number in 0..1000 {
        cache.iget(files.fs, number, number, &files.world.frames).unwrap();
    }
    let mut count = 0;
    cache.for_each_inode(|_| count += 1);
    assert_eq!(count, 1000);
    for number in (0..1000).map(|n| n * 617 % 1000) {
        let inode = cache.find_inode(files.fs, number).unwrap();
        assert_eq!(inode.size(), number);
        cache.iput(inode);
        cache.iput(inode);
        // SAFETY: it has neither users nor pages.
        assert!(unsafe { cache.drop_inode(files.fs, number) });
        assert!(cache.find_inode(files.fs, number).is_none());
    }
    cache.for_each_inode(|_| panic!("none is left"));
}

/// All memory comes back.
#[test]
fn nothing_is_lost() {
    let files = Files::with_file(1, 9, 64);
    let warm = files.open();
    files.read(warm, 0, 64 * PAGE_SIZE).unwrap();
    files.drop_pages(warm.inode());
    files.world.shrink_slabs();
    files.cache().nodes().unwrap().settle();
    files.world.shrink_slabs();
    let before = files.world.free_pages();
    for _ in 0..3 {
        files.read(warm, 0, 64 * PAGE_SIZE).unwrap();
        files.drop_pages(warm.inode());
    }
    files.cache().nodes().unwrap().settle();
    files.world.shrink_slabs();
    assert_eq!(files.world.free_pages(), before);
}
