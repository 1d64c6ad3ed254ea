//! Write-behind: what is written stays in memory, reaches the disk when it must, and errors are told once.

use super::files::{SHARED, Volume, map, word};
use super::{World, page};
use mm::addr::PAGE_SIZE;
use mm::cache::{FileMode, OpenFile};
use mm::errno::Errno;
use mm::port::{BlockDevice as _, Cpu as _, IoError, IoOp, Machine as _, PAGE_SECTORS};
use mm::vmstat::{NodeStat, VmEvent};
use mm::writeback::RangeSync;
use sim::DiskFault;

pub const BOTH: FileMode = FileMode::READ.union(FileMode::WRITE);

/// Writes `bytes` bytes of `value` from `pos`.
pub fn write(world: &World, file: &OpenFile<'static>, pos: u64, bytes: u64, value: u8) -> Result<u64, Errno> {
    // SAFETY: the memory is of the page cache, and has that many bytes.
    world.vm.write(file, pos, bytes, &world.frames, |to, len| unsafe { to.as_ptr().write_bytes(value, len) })
}

/// Reads `bytes` bytes from `pos`.
pub fn read(world: &World, file: &OpenFile<'static>, pos: u64, bytes: u64) -> Vec<u8> {
    let mut all = Vec::new();
    let sink = |from: std::ptr::NonNull<u8>, len| {
        // SAFETY: the memory is of the page cache, and has that many bytes.
        all.extend_from_slice(unsafe { std::slice::from_raw_parts(from.as_ptr(), len) });
    };
    let count = world.vm.cache().read(file, pos, bytes, &world.frames, sink).unwrap();
    assert_eq!(count, all.len() as u64);
    all
}

fn stat(world: &World, stat: NodeStat) -> u64 {
    world.vm.stat().total(stat)
}

/// What the disk has of page `n` of file `ino`.
fn on_disk(volume: &Volume, ino: u64, n: u64) -> Vec<u8> {
    let sector = volume.fs.sector(ino, n).expect("the page has a place");
    volume.disk.peek(sector * 512, PAGE_SIZE as usize)
}

#[test]
fn a_write_stays_in_memory_until_it_is_synced() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 0, BOTH);
    assert_eq!(write(&world, file, 100, 3 * PAGE_SIZE, 7), Ok(3 * PAGE_SIZE));
    assert_eq!((file.inode().size(), stat(&world, NodeStat::Dirty)), (3 * PAGE_SIZE + 100, 4));
    assert!(volume.disk.take_log().iter().all(|request| request.op != IoOp::Write), "nothing is written");
    world.vm.fsync(file, false, &world.frames).unwrap();
    let log = volume.disk.take_log();
    let written: Vec<_> = log.iter().filter(|request| request.op == IoOp::Write).collect();
    assert_eq!(written.iter().map(|request| request.pages).sum::<usize>(), 4);
    assert_eq!(written.len(), 1, "pages in a row share a request");
    assert_eq!(log.iter().filter(|request| request.op == IoOp::Flush).count(), 1);
    assert_eq!([NodeStat::Dirty, NodeStat::Writeback].map(|what| stat(&world, what)), [0, 0]);
    assert_eq!([NodeStat::Dirtied, NodeStat::Written].map(|what| stat(&world, what)), [4, 4]);
    assert_eq!(world.event(VmEvent::PgPgOut), 4 * PAGE_SECTORS);
    let first = on_disk(&volume, 1, 0);
    assert!(first[..100].iter().all(|&byte| byte == 0) && first[100..].iter().all(|&byte| byte == 7));
    assert_eq!(volume.fs.stable_size(1), Some(3 * PAGE_SIZE + 100));
    // Nothing is dirty: nothing is written again.
    world.vm.fsync(file, false, &world.frames).unwrap();
    assert!(volume.disk.take_log().iter().all(|request| request.op != IoOp::Write));
}

#[test]
fn a_part_of_a_page_keeps_the_rest() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 2, BOTH);
    write(&world, file, PAGE_SIZE + 8, 8, 9).unwrap();
    assert_eq!(read(&world, file, PAGE_SIZE, 24), [&word(1, 1).to_le_bytes()[..], &[9; 8], &[0; 8]].concat());
    world.vm.fsync(file, true, &world.frames).unwrap();
    assert_eq!(on_disk(&volume, 1, 1)[..16], [&word(1, 1).to_le_bytes()[..], &[9; 8]].concat()[..]);
    assert_eq!(on_disk(&volume, 1, 0)[..8], word(1, 0).to_le_bytes());
}

#[test]
fn a_hole_that_gets_a_place_does_not_show_what_was_there() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    volume.disk.poke(0, &[0xee; 16 * 4096]);
    let file = volume.hole(&world, 1, 4);
    write(&world, file, 2 * PAGE_SIZE + 10, 5, 3).unwrap();
    let mut expected = vec![0; 4 * PAGE_SIZE as usize];
    expected[2 * PAGE_SIZE as usize + 10..][..5].fill(3);
    assert_eq!(read(&world, file, 0, 4 * PAGE_SIZE), expected);
    world.vm.fsync(file, false, &world.frames).unwrap();
    world.vm.drop_pagecache();
    assert_eq!(read(&world, file, 0, 4 * PAGE_SIZE), expected);
}

#[test]
fn an_error_is_told_once_to_everybody_who_has_the_file_open() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let (one, other) = (volume.file(&world, 1, 4, BOTH), volume.open(&world, 1, BOTH));
    write(&world, one, 0, PAGE_SIZE, 5).unwrap();
    let sector = volume.fs.sector(1, 0).unwrap();
    volume.disk.fail(DiskFault::new(IoOp::Write, sector..sector + 1, 1));
    let sync = |file| world.vm.fsync(file, false, &world.frames);
    assert_eq!((sync(one), sync(one)), (Err(Errno::Eio), Ok(())));
    // What failed can be read still, and is not being written.
    assert_eq!(read(&world, one, 0, 3), [5; 3]);
    assert_eq!([NodeStat::Dirty, NodeStat::Writeback].map(|what| stat(&world, what)), [0, 0]);
    assert_eq!((sync(other), sync(other)), (Err(Errno::Eio), Ok(())));
    let late = volume.open(&world, 1, BOTH);
    assert_eq!(sync(late), Ok(()), "everybody who had it open has been told");
    // One that nobody was told of is told to who opens the file later.
    write(&world, one, 0, PAGE_SIZE, 6).unwrap();
    volume.disk.fail(DiskFault::new(IoOp::Write, sector..sector + 1, 1));
    world.vm.sync_all(&world.frames).unwrap();
    let later = volume.open(&world, 1, BOTH);
    assert_eq!((sync(later), sync(one), sync(one)), (Err(Errno::Eio), Err(Errno::Eio), Ok(())));
}

#[test]
fn a_disk_that_cannot_flush_says_so_and_one_without_room_too() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 1, BOTH);
    write(&world, file, 0, 10, 5).unwrap();
    volume.disk.fail(DiskFault::new(IoOp::Flush, 0..0, 1));
    assert_eq!(world.vm.fsync(file, false, &world.frames), Err(Errno::Eio));
    assert_eq!(world.vm.fsync(file, false, &world.frames), Ok(()));
    volume.disk.fail(DiskFault { error: IoError::Unsupported, ..DiskFault::new(IoOp::Flush, 0..0, 1) });
    assert_eq!(world.vm.fsync(file, false, &world.frames), Ok(()), "a disk without a cache");
    // Nobody flushes here.
    world.vm.cache().dirty().settings.set_bytes(1 << 30, 1 << 29);
    // The volume has 4096 pages; what does not fit is not written, what was is.
    let full = volume.file(&world, 2, 0, BOTH);
    let written = write(&world, full, 0, 5000 * PAGE_SIZE, 1).unwrap();
    assert_eq!(written / PAGE_SIZE, 4095);
    assert_eq!(write(&world, full, written, 1, 1), Err(Errno::Enospc));
    assert_eq!(full.inode().size(), written);
}

#[test]
fn a_flush_that_failed_while_nobody_looked_is_told_of() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let (file, other) = (volume.hole(&world, 1, 0), volume.open(&world, 1, BOTH));
    let flush = || {
        world.machine().cpu().pass(31_000_000_000);
        let stats = world.vm.flush_due(volume.disk, &world.frames);
        super::write_stable::settle(&world, &volume);
        stats.errors
    };
    write(&world, file, 0, PAGE_SIZE, 5).unwrap();
    assert_eq!(flush(), 0);
    volume.disk.fail(DiskFault::new(IoOp::Flush, 0..0, 1));
    assert_eq!(flush(), 1, "the size could not be made stable");
    for open in [file, other] {
        let told = [(); 2].map(|()| world.vm.fsync(open, false, &world.frames));
        assert_eq!(told, [Err(Errno::Eio), Ok(())]);
    }
}

#[test]
fn what_is_written_through_a_mapping_while_the_page_is_sent_is_sent_again() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 1, BOTH);
    let mm = world.context();
    let at = map(&world, mm, file, 1, SHARED);
    for round in 1..20 {
        world.store(mm, at, round).unwrap();
        world.vm.fsync(file, true, &world.frames).unwrap();
        assert_eq!(
            on_disk(&volume, 1, 0)[..8],
            round.to_le_bytes(),
            "the entry was cleaned, and the next write noticed"
        );
    }
    assert_eq!(stat(&world, NodeStat::Dirtied), 19);
    let _ = page(at, 0);
}

#[test]
fn parts_of_a_file_are_written_and_waited_for() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 8, BOTH);
    write(&world, file, 0, 8 * PAGE_SIZE, 4).unwrap();
    volume.disk.hold(true);
    world.vm.sync_range(file, (2, 3), RangeSync::WRITE, &world.frames).unwrap();
    assert_eq!([NodeStat::Dirty, NodeStat::Writeback].map(|what| stat(&world, what)), [6, 2]);
    volume.disk.hold(false);
    world.vm.sync_range(file, (0, 4), RangeSync::WAIT_BEFORE, &world.frames).unwrap();
    assert_eq!([NodeStat::Dirty, NodeStat::Writeback].map(|what| stat(&world, what)), [6, 0]);
    world.vm.sync_range(file, (0, 4), RangeSync::all(), &world.frames).unwrap();
    assert_eq!([NodeStat::Dirty, NodeStat::Written].map(|what| stat(&world, what)), [3, 5]);
    assert!(volume.disk.take_log().iter().all(|request| request.op != IoOp::Flush));
}

#[test]
fn flushers_write_what_is_old_and_what_is_too_much() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 0, BOTH);
    let (cpu, dirty) = (world.machine().cpu(), world.vm.cache().dirty());
    write(&world, file, 0, 4 * PAGE_SIZE, 1).unwrap();
    cpu.pass(29_000_000_000);
    assert_eq!(world.vm.flush_due(volume.disk, &world.frames).pages, 0, "not old enough");
    cpu.pass(2_000_000_000);
    assert_eq!(world.vm.flush_due(volume.disk, &world.frames).pages, 4);
    while stat(&world, NodeStat::Writeback) != 0 {
        world.vm.cache().io().poll(volume.disk);
    }
    // The size follows once the pages are there.
    assert_eq!(volume.fs.stable_size(1), Some(0));
    world.vm.flush_due(volume.disk, &world.frames);
    assert_eq!(volume.fs.stable_size(1), Some(4 * PAGE_SIZE));
    dirty.settings.set_bytes(64 * PAGE_SIZE, 16 * PAGE_SIZE);
    write(&world, file, 0, 20 * PAGE_SIZE, 1).unwrap();
    assert!(world.vm.is_over_background());
    assert!(world.vm.flush_due(volume.disk, &world.frames).pages >= 4);
    assert!(!world.vm.is_over_background());
}

#[test]
fn dirty_memory_stays_below_its_limit_at_the_rate_of_the_disk() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 0, BOTH);
    let (cpu, dirty) = (world.machine().cpu(), world.vm.cache().dirty());
    dirty.settings.set_bytes(512 * PAGE_SIZE, 256 * PAGE_SIZE);
    // 32 pages in 32 ms: 4 MiB a second.
    volume.disk.set_rate(4 << 20);
    let (start, mut most, mut seen) = (cpu.now(), 0, dirty.wanted());
    let pages = 3000;
    for n in 0..pages {
        write(&world, file, n * PAGE_SIZE, PAGE_SIZE, 1).unwrap();
        if dirty.wanted() != seen {
            // The flusher's turn.
            world.vm.flush_due(volume.disk, &world.frames);
            seen = dirty.wanted();
        }
        most = most.max(stat(&world, NodeStat::Dirty) + stat(&world, NodeStat::Writeback));
    }
    let took = cpu.now() - start;
    let written = stat(&world, NodeStat::Written);
    assert!(most <= 512 + 8, "{most} pages were dirty");
    assert!(dirty.throttle.paused() > 0);
    let rate = written * PAGE_SIZE * 1_000_000_000 / took;
    assert!((rate as f64 / f64::from(4 << 20) - 1.0).abs() < 0.2, "{rate} bytes a second");
    let _ = volume.disk.sectors();
}

#[test]
fn direct_transfers_and_the_cache_agree() {
    use mm::port::PhysMem as _;
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 4, BOTH);
    let gfp = mm::phys::GfpFlags::GFP_KERNEL;
    let buffer = world.board.alloc_pages(gfp, mm::addr::Order::ZERO).unwrap();
    let bytes = world.machine().physmem().ptr(buffer.pfn().addr()).unwrap();
    // Dirty in memory: a direct read sees it.
    write(&world, file, PAGE_SIZE, PAGE_SIZE, 8).unwrap();
    let pages = [buffer.pfn()];
    // SAFETY: the page is ours.
    let done = unsafe { world.vm.read_direct(file, PAGE_SIZE, &pages, PAGE_SIZE, &world.frames) };
    assert_eq!(done, Ok(PAGE_SIZE));
    // SAFETY: as above.
    assert_eq!(unsafe { bytes.as_ptr().read() }, 8);
    // A direct write is seen through the cache, where the page was.
    // SAFETY: as above.
    unsafe { bytes.as_ptr().write_bytes(9, PAGE_SIZE as usize) };
    // SAFETY: as above.
    let done = unsafe { world.vm.write_direct(file, PAGE_SIZE, &pages, PAGE_SIZE, &world.frames) };
    assert_eq!(done, Ok(PAGE_SIZE));
    assert_eq!(read(&world, file, PAGE_SIZE, 4), [9; 4]);
    // SAFETY: as above.
    let refused = unsafe { world.vm.write_direct(file, 100, &pages, PAGE_SIZE, &world.frames) };
    assert_eq!(refused, Err(Errno::Einval));
    // SAFETY: as above.
    assert_eq!(unsafe { world.vm.read_direct(file, 4 * PAGE_SIZE, &pages, PAGE_SIZE, &world.frames) }, Ok(0));
    world.board.free_pages(buffer).unwrap();
}
