//! What a sync that has returned promises, whatever was done before it, and what nobody forgets meanwhile.

use super::files::{SHARED, Volume, map};
use super::write::{BOTH, read, write};
use super::{World, cpu, keep, page};
use mm::addr::{Order, PAGE_SIZE, Pfn};
use mm::cache::{FileSystem, OpenFile, Run};
use mm::errno::Errno;
use mm::phys::GfpFlags;
use mm::port::{BlockDevice, IoOp, Machine as _, PhysMem as _};
use mm::vmstat::NodeStat;
use sim::{DiskFault, Extents};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

fn sync(world: &World, file: &OpenFile<'static>) -> Result<(), Errno> {
    world.vm.fsync(file, false, &world.frames)
}

fn stat(world: &World, what: NodeStat) -> u64 {
    world.vm.stat().total(what)
}

/// All that is on its way ends.
pub fn settle(world: &World, volume: &Volume) {
    while stat(world, NodeStat::Writeback) != 0 {
        world.vm.cache().io().poll(volume.disk);
    }
}

#[test]
fn a_size_is_stable_after_a_sync_though_no_page_was_written() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 4, BOTH);
    for size in [PAGE_SIZE, 3 * PAGE_SIZE, 0] {
        world.vm.truncate(file, size, &world.frames).unwrap();
        sync(&world, file).unwrap();
        assert_eq!(volume.fs.stable_size(1), Some(size));
    }
}

#[test]
fn a_place_is_stable_after_a_sync_however_the_page_was_written() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.hole(&world, 1, 8);
    let mm = world.context();
    let at = map(&world, mm, file, 8, SHARED);
    write(&world, file, 2 * PAGE_SIZE, 10, 1).unwrap();
    sync(&world, file).unwrap();
    world.store(mm, page(at, 5), 9).unwrap();
    sync(&world, file).unwrap();
    for n in 0..8 {
        assert_eq!(volume.fs.stable_sector(1, n).is_some(), n == 2 || n == 5, "page {n}");
    }
}

/// A file system of which one is in the middle of a sync until another comes or has gone.
struct Slow {
    files: &'static Extents<'static>,
    began: AtomicU32,
    ended: AtomicU32,
    other_has_gone: AtomicBool,
}

impl FileSystem for Slow {
    fn device(&self) -> &dyn BlockDevice {
        self.files.device()
    }

    fn map(&self, ino: u64, index: u64, pages: u64) -> Result<Run, Errno> {
        self.files.map(ino, index, pages)
    }

    fn place(&self, ino: u64, index: u64) -> Result<Option<u64>, Errno> {
        FileSystem::place(self.files, ino, index)
    }

    fn valid(&self, ino: u64) -> u64 {
        self.files.valid(ino)
    }

    fn release(&self, ino: u64, index: u64, pages: u64) -> Result<(), Errno> {
        self.files.release(ino, index, pages)
    }

    fn allocate(&self, ino: u64, index: u64, pages: u64) -> Result<(), Errno> {
        self.files.allocate(ino, index, pages)
    }

    fn set_size(&self, ino: u64, size: u64) -> Result<(), Errno> {
        self.files.set_size(ino, size)
    }

    fn written(&self, ino: u64, end: u64) {
        self.files.written(ino, end);
    }

    fn sync_inode(&self, ino: u64, data_only: bool) -> Result<(), Errno> {
        self.began.fetch_add(1, Ordering::SeqCst);
        while self.began.load(Ordering::SeqCst) < 2 && !self.other_has_gone.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let result = self.files.sync_inode(ino, data_only);
        self.ended.fetch_add(1, Ordering::SeqCst);
        result
    }
}

#[test]
fn who_syncs_while_another_does_waits_for_the_same() {
    let world = World::new(64, 2);
    let volume = Volume::new(&world);
    let slow: &'static Slow = keep(Slow {
        files: volume.fs,
        began: AtomicU32::new(0),
        ended: AtomicU32::new(0),
        other_has_gone: AtomicBool::new(false),
    });
    volume.fs.create(1, 0);
    let open = || world.vm.cache().open(slow, 1, 0, BOTH, &world.frames).unwrap();
    let files = [open(), open()];
    write(&world, files[0], 0, PAGE_SIZE, 1).unwrap();
    let cpus = world.machine().cpu();
    std::thread::scope(|scope| {
        scope.spawn(|| cpus.run_on(cpu(0), || sync(&world, files[0]).unwrap()));
        scope.spawn(|| {
            while slow.began.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            cpus.run_on(cpu(1), || sync(&world, files[1]).unwrap());
            let ended = slow.ended.load(Ordering::SeqCst);
            slow.other_has_gone.store(true, Ordering::SeqCst);
            assert!(ended != 0, "the size was not stable yet");
        });
    });
    assert_eq!(volume.fs.stable_size(1), Some(PAGE_SIZE));
}

#[test]
fn a_page_that_becomes_dirty_while_it_is_written_is_not_forgotten() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 1, BOTH);
    let old = || world.machine().cpu().pass(31_000_000_000);
    write(&world, file, 0, 10, 1).unwrap();
    volume.disk.hold(true);
    old();
    assert_eq!(world.vm.flush_due(volume.disk, &world.frames).pages, 1);
    write(&world, file, 0, 10, 2).unwrap();
    old();
    assert_eq!(world.vm.flush_due(volume.disk, &world.frames).pages, 0, "it is still being written");
    volume.disk.hold(false);
    settle(&world, &volume);
    assert_eq!(stat(&world, NodeStat::Dirty), 1);
    old();
    assert_eq!(world.vm.flush_due(volume.disk, &world.frames).pages, 1);
    settle(&world, &volume);
    assert_eq!(stat(&world, NodeStat::Dirty), 0);
}

/// What a page of memory holds.
pub fn bytes(world: &World, pfn: Pfn) -> Vec<u8> {
    let at = world.machine().physmem().ptr(pfn.addr()).unwrap();
    // SAFETY: the page is ours, and nobody writes it meanwhile.
    unsafe { std::slice::from_raw_parts(at.as_ptr(), PAGE_SIZE as usize) }.to_vec()
}

/// A page of memory for direct transfers, filled with `value`.
pub fn buffer(world: &World, value: u8) -> Pfn {
    let pfn = world.board.alloc_pages(GfpFlags::GFP_KERNEL, Order::ZERO).unwrap().into_raw().0;
    // SAFETY: the page was just allocated.
    unsafe { world.machine().physmem().ptr(pfn.addr()).unwrap().write_bytes(value, PAGE_SIZE as usize) };
    pfn
}

pub fn give_back(world: &World, pfn: Pfn) {
    // SAFETY: the page came from `buffer`.
    world.board.free_pages(unsafe { world.board.frames_from_raw(pfn, Order::ZERO) }).unwrap();
}

#[test]
fn a_direct_write_behind_what_is_dirty_is_read_through_the_cache() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 0, BOTH);
    let pfn = buffer(&world, 7);
    write(&world, file, 0, 2 * PAGE_SIZE, 1).unwrap();
    // SAFETY: the page is ours.
    let done = unsafe { world.vm.write_direct(file, 2 * PAGE_SIZE, &[pfn], PAGE_SIZE, &world.frames) };
    assert_eq!(done, Ok(PAGE_SIZE));
    assert_eq!(read(&world, file, 2 * PAGE_SIZE - 1, 3), [1, 7, 7]);
    sync(&world, file).unwrap();
    assert!(volume.fs.stable_sector(1, 2).is_some());
    give_back(&world, pfn);
}

#[test]
fn a_direct_read_of_what_could_not_be_written_fails() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let file = volume.file(&world, 1, 1, BOTH);
    let pfn = buffer(&world, 0);
    write(&world, file, 0, PAGE_SIZE, 5).unwrap();
    let sector = volume.fs.sector(1, 0).unwrap();
    volume.disk.fail(DiskFault::new(IoOp::Write, sector..sector + 1, 1));
    // SAFETY: the page is ours.
    let result = unsafe { world.vm.read_direct(file, 0, &[pfn], PAGE_SIZE, &world.frames) };
    assert_eq!(result, Err(Errno::Eio), "the disk does not have what was written");
    assert_eq!(sync(&world, file), Err(Errno::Eio));
    give_back(&world, pfn);
}

#[test]
fn a_write_past_the_end_shows_nothing_of_what_lies_between() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let pfn = buffer(&world, 7);
    let grow: [&dyn Fn(&OpenFile<'static>); 3] = [
        &|file| assert_eq!(write(&world, file, 2 * PAGE_SIZE, 1, 1), Ok(1)),
        &|file| assert_eq!(write(&world, file, 300, 1, 1), Ok(1)),
        &|file| {
            // SAFETY: the page is ours.
            let written = unsafe { world.vm.write_direct(file, 512, &[pfn], 512, &world.frames) };
            assert_eq!(written, Ok(512));
        },
    ];
    for (ino, grow) in (1..).zip(grow) {
        let file = volume.file(&world, ino, 1, BOTH);
        world.vm.truncate(file, 100, &world.frames).unwrap();
        sync(&world, file).unwrap();
        let mm = world.context();
        let at = map(&world, mm, file, 1, SHARED);
        world.store(mm, at.checked_add(200).unwrap(), u64::MAX).unwrap();
        grow(file);
        assert_eq!(read(&world, file, 200, 8), [0; 8], "file {ino}");
        sync(&world, file).unwrap();
        let sector = volume.fs.stable_sector(ino, 0).unwrap();
        assert_eq!(volume.disk.peek(sector * 512 + 200, 8), [0; 8], "file {ino}");
        world.end(mm);
    }
    give_back(&world, pfn);
}
