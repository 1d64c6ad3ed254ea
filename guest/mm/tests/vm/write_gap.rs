//! Places on the disk that a file has and that nobody wrote: what lies there is never shown, whatever was written behind
//! them, and what was synced is there all the same.

use super::World;
use super::files::{SHARED, Volume, map};
use super::write::{BOTH, read, write};
use super::write_stable::{buffer, bytes, give_back, settle};
use mm::addr::PAGE_SIZE;
use mm::cache::{FileSystem as _, OpenFile};
use mm::errno::Errno;
use mm::port::{IoOp, Machine as _, PAGE_SECTORS};
use mm::vmstat::NodeStat;
use mm::writeback::RangeSync;
use sim::DiskFault;
use std::sync::atomic::{AtomicU64, Ordering};

const GARBAGE: u8 = 0xee;
/// Where the room of the first file begins.
const ROOM: u64 = 512 * PAGE_SECTORS;

/// A volume whose disk holds what nobody may see.
fn volume(world: &World) -> Volume {
    let volume = Volume::new(world);
    volume.disk.poke(0, &[GARBAGE; 1024 * PAGE_SIZE as usize]);
    volume
}

/// Byte `within` of page `n` as it is found when the power is back.
fn after_a_crash(volume: &Volume, n: u64, within: u64) -> u8 {
    volume.fs.stable_sector(1, n).map_or(0, |sector| volume.disk.peek(sector * 512 + within, 1)[0])
}

/// The first byte of each page, read anew.
fn first_bytes(world: &World, file: &OpenFile<'static>, pages: u64) -> Vec<u8> {
    world.vm.drop_pagecache();
    assert_eq!(file.inode().mapping().nrpages(), 0, "all is clean and known");
    (0..pages).map(|n| read(world, file, n * PAGE_SIZE, 1)[0]).collect()
}

#[test]
fn room_that_was_set_aside_is_not_shown() {
    let world = World::new(64, 1);
    let volume = volume(&world);
    volume.fs.create_with_room(1, 8 * PAGE_SIZE, 16, ROOM);
    let file = volume.open(&world, 1, BOTH);
    let sync = || world.vm.fsync(file, false, &world.frames).unwrap();
    // A size alone shows nothing of it, nor does a page behind.
    world.vm.truncate(file, 12 * PAGE_SIZE, &world.frames).unwrap();
    sync();
    assert_eq!(first_bytes(&world, file, 12), [0; 12]);
    write(&world, file, 0, PAGE_SIZE, 1).unwrap();
    write(&world, file, 5 * PAGE_SIZE, 10, 2).unwrap();
    sync();
    assert_eq!(volume.fs.sector(1, 0), Some(ROOM), "what is written in order goes to the room");
    assert_eq!(first_bytes(&world, file, 12), [1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        (0..12).map(|n| after_a_crash(&volume, n, 100)).collect::<Vec<_>>(),
        [1].into_iter().chain([0; 11]).collect::<Vec<_>>()
    );
    write(&world, file, 3 * PAGE_SIZE, 10, 3).unwrap();
    sync();
    assert_eq!(first_bytes(&world, file, 12), [1, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_page_that_was_never_written_is_zero_and_what_lies_behind_is_stable() {
    let world = World::new(64, 1);
    let volume = volume(&world);
    let file = volume.hole(&world, 1, 0);
    let sync = || world.vm.fsync(file, false, &world.frames);
    write(&world, file, 0, 6 * PAGE_SIZE, 1).unwrap();
    let bad = volume.fs.sector(1, 2).unwrap();
    volume.disk.set_max_pages(1);
    volume.disk.fail(DiskFault::new(IoOp::Write, bad..bad + 1, 1));
    assert_eq!((sync(), sync()), (Err(Errno::Eio), Ok(())));
    assert_eq!(read(&world, file, 2 * PAGE_SIZE, 1), [1], "it is still in memory");
    write(&world, file, 7 * PAGE_SIZE, PAGE_SIZE, 2).unwrap();
    assert_eq!(sync(), Ok(()));
    let found: Vec<_> = (0..8).map(|n| after_a_crash(&volume, n, 100)).collect();
    assert_eq!(found, [1, 1, 0, 1, 1, 1, 0, 2]);
    assert_eq!(first_bytes(&world, file, 8), found);
    // Written again it is there.
    write(&world, file, 2 * PAGE_SIZE, PAGE_SIZE, 3).unwrap();
    assert_eq!(sync(), Ok(()));
    assert_eq!(after_a_crash(&volume, 2, 100), 3);
}

#[test]
fn a_page_that_is_dirty_again_does_not_hide_those_behind() {
    let world = World::new(64, 1);
    let volume = volume(&world);
    let file = volume.hole(&world, 1, 0);
    for n in [0, 5] {
        write(&world, file, n * PAGE_SIZE, PAGE_SIZE, 1).unwrap();
    }
    volume.disk.hold(true);
    world.vm.sync_range(file, (0, 9), RangeSync::WRITE, &world.frames).unwrap();
    write(&world, file, 0, PAGE_SIZE, 2).unwrap();
    volume.disk.hold(false);
    settle(&world, &volume);
    world.vm.flush_due(volume.disk, &world.frames);
    assert_eq!(volume.fs.valid(1), 6 * PAGE_SIZE, "both were written");
}

#[test]
fn what_cannot_be_given_up_is_not_called_stable() {
    let world = World::new(64, 1);
    let volume = volume(&world);
    let file = volume.hole(&world, 1, 0);
    let sync = || world.vm.fsync(file, false, &world.frames);
    write(&world, file, 0, 3 * PAGE_SIZE, 1).unwrap();
    let bad = volume.fs.sector(1, 1).unwrap();
    volume.disk.set_max_pages(1);
    volume.disk.fail(DiskFault::new(IoOp::Write, bad..bad + 1, 1));
    volume.fs.limit_releases(0);
    assert_eq!((sync(), sync()), (Err(Errno::Eio), Err(Errno::Eio)));
    assert_eq!((0..3).map(|n| after_a_crash(&volume, n, 100)).collect::<Vec<_>>(), [0; 3]);
    world.vm.truncate(file, PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(sync(), Ok(()));
    assert_eq!(after_a_crash(&volume, 0, 100), 1);
}

#[test]
fn a_sync_is_not_undone_by_holes_that_are_filled_meanwhile() {
    const PAGES: u64 = 256;
    let world = World::new(64, 2);
    let volume = volume(&world);
    let (file, other) = (volume.hole(&world, 1, PAGES), volume.open(&world, 1, BOTH));
    // From behind: each is before all that were written.
    let written = AtomicU64::new(PAGES);
    let cpus = world.machine().cpu();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            cpus.run_on(super::cpu(0), || {
                for n in (0..PAGES).rev() {
                    write(&world, file, n * PAGE_SIZE, PAGE_SIZE, 1).unwrap();
                    written.store(n, Ordering::SeqCst);
                }
            });
        });
        scope.spawn(|| {
            cpus.run_on(super::cpu(1), || {
                loop {
                    let first = written.load(Ordering::SeqCst);
                    world.vm.fsync(other, false, &world.frames).unwrap();
                    let found = (first..PAGES).map(|n| after_a_crash(&volume, n, 0));
                    assert!(found.into_iter().all(|byte| byte == 1), "what was synced is not there");
                    if first == 0 {
                        break;
                    }
                }
            });
        });
    });
}

#[test]
fn what_is_appended_during_a_sync_is_for_the_next() {
    let world = World::new(64, 2);
    let volume = volume(&world);
    let (file, other) = (volume.hole(&world, 1, 0), volume.open(&world, 1, BOTH));
    write(&world, file, 0, PAGE_SIZE, 1).unwrap();
    volume.disk.hold(true);
    let cpus = world.machine().cpu();
    let sync = |file| world.vm.fsync(file, false, &world.frames).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| cpus.run_on(super::cpu(0), || sync(file)));
        cpus.run_on(super::cpu(1), || {
            while world.vm.stat().total(NodeStat::Writeback) == 0 {
                std::thread::yield_now();
            }
            write(&world, other, PAGE_SIZE, PAGE_SIZE, 2).unwrap();
            volume.disk.hold(false);
        });
    });
    sync(other);
    assert_eq!([0, 1].map(|n| after_a_crash(&volume, n, 100)), [1, 2]);
    assert_eq!(first_bytes(&world, file, 2), [1, 2]);
}

#[test]
fn a_direct_read_finds_what_was_written_behind_all() {
    let world = World::new(64, 1);
    let volume = volume(&world);
    let file = volume.hole(&world, 1, 0);
    let pfn = buffer(&world, 9);
    let mut direct = |n: u64| {
        // SAFETY: the page is ours.
        let done = unsafe { world.vm.read_direct(file, n * PAGE_SIZE, &[pfn], PAGE_SIZE, &world.frames) };
        assert_eq!(done, Ok(PAGE_SIZE));
        let found = bytes(&world, pfn);
        assert!(found.iter().all(|byte| *byte == found[0]));
        found[0]
    };
    write(&world, file, 0, PAGE_SIZE, 1).unwrap();
    assert_eq!(direct(0), 1);
    write(&world, file, 2 * PAGE_SIZE, 2 * PAGE_SIZE, 2).unwrap();
    write(&world, file, 5 * PAGE_SIZE, PAGE_SIZE, 3).unwrap();
    assert_eq!([3, 1, 2, 5, 4, 0].map(&mut direct), [2, 0, 2, 3, 0, 1]);
    give_back(&world, pfn);
}

#[test]
fn direct_transfers_go_by_sectors() {
    let world = World::new(64, 1);
    let volume = volume(&world);
    let file = volume.file(&world, 1, 4, BOTH);
    let (first, second) = (buffer(&world, 7), buffer(&world, 8));
    let pages = [first, second];
    let (pos, bytes) = (PAGE_SIZE - 1024, PAGE_SIZE + 512);
    // SAFETY: the pages are ours, here and below.
    let direct = |pos, bytes| unsafe { world.vm.write_direct(file, pos, &pages, bytes, &world.frames) };
    assert_eq!(direct(pos, bytes), Ok(bytes));
    let mut expected = read(&world, file, 0, 4 * PAGE_SIZE);
    assert!(expected[pos as usize..].starts_with(&[vec![7; PAGE_SIZE as usize], vec![8; 512]].concat()));
    // SAFETY: see above.
    let back = |pos, bytes| unsafe { world.vm.read_direct(file, pos, &pages, bytes, &world.frames) };
    assert_eq!(back(pos - 512, 2 * PAGE_SIZE), Ok(2 * PAGE_SIZE));
    let seen = [first, second].map(|pfn| super::write_stable::bytes(&world, pfn)).concat();
    assert_eq!(seen, expected[pos as usize - 512..][..2 * PAGE_SIZE as usize]);
    // At the end there is less.
    assert_eq!((back(4 * PAGE_SIZE - 512, PAGE_SIZE), back(4 * PAGE_SIZE, 512)), (Ok(512), Ok(0)));
    // What is no sector, or more than there is memory for, is refused, and nothing is written.
    for (pos, bytes) in [(511, 512), (512, 100), (0, 3 * PAGE_SIZE)] {
        assert_eq!((direct(pos, bytes), back(pos, bytes)), (Err(Errno::Einval), Err(Errno::Einval)));
    }
    assert_eq!(read(&world, file, 0, 4 * PAGE_SIZE), expected);
    // The file grows, by a sector.
    assert_eq!(direct(6 * PAGE_SIZE + 512, 512), Ok(512));
    expected.resize(6 * PAGE_SIZE as usize + 512, 0);
    expected.resize(6 * PAGE_SIZE as usize + 1024, super::write_stable::bytes(&world, first)[0]);
    assert_eq!(read(&world, file, 0, 8 * PAGE_SIZE), expected);
    world.vm.fsync(file, false, &world.frames).unwrap();
    world.vm.drop_pagecache();
    assert_eq!(read(&world, file, 0, 8 * PAGE_SIZE), expected);
    pages.into_iter().for_each(|pfn| give_back(&world, pfn));
}

#[test]
fn what_was_cut_off_does_not_come_back_with_a_table() {
    let world = World::new(64, 1);
    let volume = volume(&world);
    let file = volume.file(&world, 1, 2, BOTH);
    let end = PAGE_SIZE + 904;
    world.vm.truncate(file, end, &world.frames).unwrap();
    assert_eq!(volume.fs.stable_size(1), Some(2 * PAGE_SIZE));
    world.vm.truncate(file, 5 * PAGE_SIZE, &world.frames).unwrap();
    // A table is written for another file, before any page of this one.
    volume.fs.sync_inode(1, false).unwrap();
    assert_eq!([903, 904, 4095].map(|within| after_a_crash(&volume, 1, within)), [GARBAGE, 0, 0]);
    // What is told of the file by and by shows no more of it.
    world.vm.flush_due(volume.disk, &world.frames);
    volume.fs.sync_inode(1, false).unwrap();
    assert_eq!([903, 904, 4095].map(|within| after_a_crash(&volume, 1, within)), [GARBAGE, 0, 0]);
}

#[test]
fn what_a_mapping_wrote_behind_the_end_is_not_on_the_disk() {
    let world = World::new(64, 1);
    let volume = volume(&world);
    let file = volume.hole(&world, 1, 0);
    write(&world, file, 0, 100, 1).unwrap();
    world.vm.fsync(file, false, &world.frames).unwrap();
    let mm = world.context();
    let at = map(&world, mm, file, 1, SHARED);
    world.store(mm, at.checked_add(200).unwrap(), u64::MAX).unwrap();
    world.vm.fsync(file, false, &world.frames).unwrap();
    assert_eq!([99, 200].map(|within| after_a_crash(&volume, 0, within)), [1, 0]);
    world.end(mm);
}
