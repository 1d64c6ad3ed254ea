//! Files that change size while somebody reads them: what is shown is of the file as it is, or was, and never of anything else.

use super::files::{READ, Volume, map};
use super::write::{BOTH, read, write};
use super::{Source, World, cpu};
use mm::addr::{Order, PAGE_SIZE};
use mm::cache::OpenFile;
use mm::errno::Errno;
use mm::fault::Fault;
use mm::phys::{AllocError, FrameAllocator, Frames, FreeError, GfpFlags};
use mm::port::{Access, Machine as _};
use mm::vmstat::NodeStat;
use mm::writeback::RangeSync;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

const PAGES: u64 = 32;
const ALL: u64 = PAGES * PAGE_SIZE;
/// What lies where the file was once it is somebody else's.
const OTHER: u8 = 0xee;

/// An allocator that lets something happen before one of its pages is given out, as if whoever asked had slept there.
struct Sleepy<'a, W: Fn(GfpFlags) -> bool, D: Fn()> {
    frames: &'a Source<'static>,
    /// At the first page for which this says yes.
    when: W,
    work: D,
    is_done: AtomicBool,
    /// Whether readahead gets no memory.
    is_short: bool,
}

impl<'a, W: Fn(GfpFlags) -> bool, D: Fn()> Sleepy<'a, W, D> {
    fn new(world: &'a World, when: W, work: D) -> Self {
        Self { frames: &world.frames, when, work, is_done: AtomicBool::new(false), is_short: false }
    }
}

impl<W: Fn(GfpFlags) -> bool, D: Fn()> FrameAllocator<'static> for Sleepy<'_, W, D> {
    fn alloc(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'static>, AllocError> {
        if self.is_short && gfp.contains(GfpFlags::__GFP_NORETRY) {
            return Err(AllocError::OutOfMemory);
        }
        if (self.when)(gfp) && !self.is_done.swap(true, Ordering::Relaxed) {
            (self.work)();
        }
        self.frames.alloc(gfp, order)
    }

    fn free(&self, frames: Frames<'static>) -> Result<(), FreeError> {
        self.frames.free(frames)
    }
}

/// A page of a file is asked for.
fn is_of_file(gfp: GfpFlags) -> bool {
    gfp.contains(GfpFlags::__GFP_MOVABLE)
}

/// The file has `size` bytes from now on, then `PAGES` pages; in between somebody else gets what lay behind.
fn cut_and_grow(world: &World, volume: &Volume, file: &OpenFile<'static>, size: u64) {
    let places: Vec<_> = (size / PAGE_SIZE..PAGES).filter_map(|n| volume.fs.sector(1, n)).collect();
    world.vm.truncate(file, size, &world.frames).unwrap();
    places.iter().for_each(|sector| volume.disk.poke(sector * 512, &[OTHER; PAGE_SIZE as usize]));
    world.vm.truncate(file, ALL, &world.frames).unwrap();
}

/// What a read through `frames` shows.
fn read_with(world: &World, file: &OpenFile<'static>, frames: &impl FrameAllocator<'static>) -> Vec<u8> {
    let mut all = Vec::new();
    let sink = |from: NonNull<u8>, len| {
        // SAFETY: the memory is of the page cache, and has that many bytes.
        all.extend_from_slice(unsafe { std::slice::from_raw_parts(from.as_ptr(), len) });
    };
    world.vm.cache().read(file, 0, ALL, frames, sink).unwrap();
    all
}

#[test]
fn a_read_goes_on_in_the_page_where_the_file_ended() {
    let world = World::new(64, 2);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 0, BOTH);
    write(&world, file, 0, 2 * PAGE_SIZE, 7).unwrap();
    // A truncation that waits for page 1.
    volume.disk.hold(true);
    world.vm.sync_range(file, (1, 1), RangeSync::WRITE, &world.frames).unwrap();
    let is_cut = AtomicBool::new(false);
    let cpus = world.machine().cpu();
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            cpus.run_on(cpu(1), || world.vm.truncate(file, 100, &world.frames).unwrap());
            is_cut.store(true, Ordering::Release);
        });
        while file.inode().size() != 100 {
            std::thread::yield_now();
        }
        let sink = |from: NonNull<u8>, len| {
            // SAFETY: the memory is of the page cache, and has that many bytes.
            seen.extend_from_slice(unsafe { std::slice::from_raw_parts(from.as_ptr(), len) });
            volume.disk.hold(false);
            while !is_cut.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            world.vm.truncate(file, 2 * PAGE_SIZE, &world.frames).unwrap();
        };
        world.vm.cache().read(file, 0, 2 * PAGE_SIZE, &world.frames, sink).unwrap();
    });
    assert_eq!((seen.len() as u64, &seen[..100]), (2 * PAGE_SIZE, &[7; 100][..]));
    assert!(seen[100..].iter().all(|&byte| byte == 0), "what was cut off is shown");
    world.verify();
}

#[test]
fn readahead_brings_nothing_behind_an_end_that_came_closer() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, PAGES, BOTH);
    let frames = Sleepy::new(&world, is_of_file, || world.vm.truncate(file, 0, &world.frames).unwrap());
    assert_eq!(read_with(&world, file, &frames), []);
    assert!(frames.is_done.into_inner());
    assert_eq!(file.inode().mapping().nrpages(), 0);
    world.vm.truncate(file, ALL, &world.frames).unwrap();
    assert!(read(&world, file, 0, ALL).iter().all(|&byte| byte == 0), "what was cut off is back");
    world.verify();
}

#[test]
fn readahead_asks_anew_where_a_page_is_when_the_file_was_cut() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, PAGES, BOTH);
    let kept = read(&world, file, 0, 6 * PAGE_SIZE);
    world.vm.drop_pagecache();
    assert_eq!(file.inode().mapping().nrpages(), 0);
    let is_next = |gfp| is_of_file(gfp) && world.vm.cache().is_cached(file.inode(), 5);
    // Pages that are being read do not go; those behind are where they were no more.
    let frames = Sleepy::new(&world, is_next, || cut_and_grow(&world, &volume, file, 6 * PAGE_SIZE));
    let seen = read_with(&world, file, &frames);
    assert!(frames.is_done.into_inner());
    assert_eq!((seen.len() as u64, &seen[..kept.len()]), (ALL, &kept[..]));
    assert!(seen[kept.len()..].iter().all(|&byte| byte == 0), "bytes of somebody else");
    world.verify();
}

#[test]
fn readahead_asks_anew_where_a_page_is_when_it_was_written_meanwhile() {
    for is_dirty_before in [false, true] {
        let world = World::new(64, 1);
        let volume = Volume::new(&world);
        let file = volume.hole(&world, 1, 0);
        world.vm.truncate(file, ALL, &world.frames).unwrap();
        let dirty = || assert_eq!(write(&world, file, 20 * PAGE_SIZE, PAGE_SIZE, 9), Ok(PAGE_SIZE));
        if is_dirty_before {
            dirty();
        }
        let is_next = |gfp| is_of_file(gfp) && world.vm.cache().is_cached(file.inode(), 5);
        let write_and_drop = || {
            if !is_dirty_before {
                dirty();
            }
            world.vm.fsync(file, false, &world.frames).unwrap();
            world.vm.drop_pagecache();
            assert!(!world.vm.cache().is_cached(file.inode(), 20));
        };
        let frames = Sleepy::new(&world, is_next, write_and_drop);
        let seen = read_with(&world, file, &frames);
        assert!(frames.is_done.into_inner());
        let first: Vec<_> = seen.iter().step_by(PAGE_SIZE as usize).copied().collect();
        assert_eq!(first, [[0; 20].as_slice(), &[9], &[0; 11]].concat());
        world.verify();
    }
}

#[test]
fn a_page_that_is_needed_is_not_read_behind_an_end_that_came_closer() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, PAGES, BOTH);
    let short = || {
        let cut = || world.vm.truncate(file, 0, &world.frames).unwrap();
        Sleepy { is_short: true, ..Sleepy::new(&world, is_of_file, cut) }
    };
    let frames = short();
    assert_eq!(read_with(&world, file, &frames), []);
    assert!(frames.is_done.into_inner());
    assert_eq!(file.inode().mapping().nrpages(), 0);
    // By a fault.
    world.vm.truncate(file, ALL, &world.frames).unwrap();
    let mm = world.context();
    let at = map(&world, mm, file, PAGES, READ);
    let frames = short();
    assert_eq!(world.vm.touch(mm, at, Access::Read, &frames), Fault::Sigbus);
    assert!(frames.is_done.into_inner());
    assert_eq!(file.inode().mapping().nrpages(), 0);
    world.verify();
}

#[test]
fn a_page_that_is_needed_is_read_where_the_file_grew_again() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, PAGES, BOTH);
    let frames = Sleepy::new(&world, is_of_file, || cut_and_grow(&world, &volume, file, 0));
    let frames = Sleepy { is_short: true, ..frames };
    assert_eq!(read_with(&world, file, &frames), [0; ALL as usize]);
    assert!(frames.is_done.into_inner());
    world.verify();
}

#[test]
fn a_hole_is_cut_without_a_place_for_it() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.hole(&world, 1, 4);
    read(&world, file, 0, 4 * PAGE_SIZE);
    // The volume is full.
    volume.fs.create(2, 4096 * PAGE_SIZE);
    volume.fs.place(2, 0, 4096, 0);
    assert_eq!(write(&world, file, 0, 1, 1), Err(Errno::Enospc));
    let dirty = world.vm.stat().total(NodeStat::Dirty);
    assert_eq!(world.vm.truncate(file, 2 * PAGE_SIZE + 100, &world.frames), Ok(()));
    assert_eq!(file.inode().size(), 2 * PAGE_SIZE + 100);
    assert_eq!((volume.fs.sector(1, 2), world.vm.stat().total(NodeStat::Dirty)), (None, dirty));
    // Nor for what grows from there.
    assert_eq!(world.vm.truncate(file, 4 * PAGE_SIZE, &world.frames), Ok(()));
    assert_eq!(read(&world, file, 0, 4 * PAGE_SIZE), [0; 4 * PAGE_SIZE as usize]);
    world.verify();
}

#[test]
fn what_is_being_written_of_the_last_page_is_written_again_without_what_was_cut_off() {
    let world = World::new(64, 2);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 0, BOTH);
    write(&world, file, 0, PAGE_SIZE, 7).unwrap();
    volume.disk.hold(true);
    world.vm.sync_range(file, (0, 0), RangeSync::WRITE, &world.frames).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let cut = || world.vm.truncate(file, 100, &world.frames).unwrap();
            world.machine().cpu().run_on(cpu(1), cut);
        });
        while file.inode().size() != 100 {
            std::thread::yield_now();
        }
        volume.disk.hold(false);
    });
    world.vm.fsync(file, false, &world.frames).unwrap();
    world.vm.truncate(file, PAGE_SIZE, &world.frames).unwrap();
    world.vm.fsync(file, false, &world.frames).unwrap();
    world.vm.drop_pagecache();
    let seen = read(&world, file, 0, PAGE_SIZE);
    assert_eq!((&seen[..100], seen.iter().filter(|&&byte| byte == 0).count()), (&[7; 100][..], 3996));
}
