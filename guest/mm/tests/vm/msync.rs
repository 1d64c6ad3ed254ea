//! What is written through mappings becomes stable when that is asked for; what will be needed is read before.

use super::files::{READ, SHARED, Volume, WRITE, map, word};
use super::write::BOTH;
use super::{World, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::cache::FileMode;
use mm::errno::Errno;
use mm::port::{IoOp, Machine as _};
use mm::space::{Advice, MapRequest, Mm};
use mm::vmstat::{NodeStat, VmEvent};
use mm::writeback::MsFlags;
use sim::{DiskFault, Machine};

fn msync(
    world: &World,
    mm: &Mm<'static, Machine>,
    at: VirtAddr,
    pages: u64,
    flags: MsFlags,
) -> Result<(), Errno> {
    world.vm.msync(mm, at, pages * PAGE_SIZE, flags, &world.frames)
}

fn first_word(volume: &Volume, ino: u64, n: u64) -> Option<u64> {
    let sector = volume.fs.stable_sector(ino, n)?;
    Some(u64::from_le_bytes(volume.disk.peek(sector * 512, 8).try_into().unwrap()))
}

#[test]
fn msync_makes_its_range_stable_and_nothing_else() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let mm = world.context();
    let file = volume.hole(&world, 1, 16);
    let at = map(&world, mm, file, 16, SHARED);
    (0..16).for_each(|n| world.store(mm, page(at, n), 100 + n).unwrap());
    let dirty = || world.vm.stat().total(NodeStat::Dirty);
    assert_eq!(msync(&world, mm, at, 16, MsFlags::ASYNC), Ok(()));
    assert_eq!(msync(&world, mm, at, 16, MsFlags::INVALIDATE), Ok(()));
    assert_eq!((dirty(), first_word(&volume, 1, 5)), (16, None));
    assert_eq!(msync(&world, mm, page(at, 4), 3, MsFlags::SYNC), Ok(()));
    assert_eq!(dirty(), 13);
    for n in 0..16 {
        assert_eq!(first_word(&volume, 1, n) == Some(100 + n), (4..7).contains(&n), "page {n}");
    }
    // Written again it is dirty again.
    world.store(mm, page(at, 5), 7).unwrap();
    assert_eq!(dirty(), 14);
    assert_eq!(msync(&world, mm, at, 16, MsFlags::SYNC | MsFlags::INVALIDATE), Ok(()));
    assert_eq!((dirty(), first_word(&volume, 1, 5)), (0, Some(7)));
    world.verify();
}

#[test]
fn what_is_private_or_not_of_a_file_is_not_synced() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let mm = world.context();
    let file = volume.file(&world, 1, 4, BOTH);
    let (private, anon) = (map(&world, mm, file, 4, WRITE), world.map(mm, 4));
    world.store(mm, private, 5).unwrap();
    world.store(mm, anon, 5).unwrap();
    for at in [private, anon] {
        assert_eq!(msync(&world, mm, at, 4, MsFlags::SYNC), Ok(()));
    }
    assert_eq!(first_word(&volume, 1, 0), Some(word(1, 0)));
    assert!(volume.disk.take_log().iter().all(|request| request.op == IoOp::Read));
}

#[test]
fn msync_refuses_as_linux_does() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let mm = world.context();
    let file = volume.hole(&world, 1, 8);
    let at = map(&world, mm, file, 8, SHARED);
    let call =
        |at: u64, len, flags| world.vm.msync(mm, VirtAddr::new(at).unwrap(), len, flags, &world.frames);
    let (at, unknown) = (at.get(), MsFlags::from_bits_retain(8));
    assert_eq!(call(at + 1, PAGE_SIZE, MsFlags::SYNC), Err(Errno::Einval));
    assert_eq!(call(at, PAGE_SIZE, MsFlags::SYNC | MsFlags::ASYNC), Err(Errno::Einval));
    assert_eq!(call(at, PAGE_SIZE, unknown), Err(Errno::Einval));
    assert_eq!(call(at, u64::MAX - 1, MsFlags::SYNC), Err(Errno::Enomem));
    assert_eq!(call(at, 0, MsFlags::SYNC), Ok(()));
    // Lengths are rounded up.
    world.store(mm, VirtAddr::new(at).unwrap(), 3).unwrap();
    assert_eq!(call(at, 1, MsFlags::SYNC), Ok(()));
    assert_eq!(first_word(&volume, 1, 0), Some(3));
    // What is mapped on both sides of a hole is synced all the same.
    world.vm.munmap(mm, VirtAddr::new(at + 3 * PAGE_SIZE).unwrap(), PAGE_SIZE, &world.frames).unwrap();
    for n in [1, 6] {
        world.store(mm, VirtAddr::new(at + n * PAGE_SIZE).unwrap(), 40 + n).unwrap();
    }
    for flags in [MsFlags::ASYNC, MsFlags::SYNC] {
        assert_eq!(call(at, 8 * PAGE_SIZE, flags), Err(Errno::Enomem));
    }
    assert_eq!((first_word(&volume, 1, 1), first_word(&volume, 1, 6)), (Some(41), Some(46)));
    world.vm.mlock(mm, VirtAddr::new(at).unwrap(), PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(call(at, PAGE_SIZE, MsFlags::INVALIDATE), Err(Errno::Ebusy));
    assert_eq!(call(at, PAGE_SIZE, MsFlags::SYNC), Ok(()));
}

#[test]
fn msync_tells_of_an_error_once() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let mm = world.context();
    let file = volume.file(&world, 1, 4, BOTH);
    let at = map(&world, mm, file, 4, SHARED);
    world.store(mm, page(at, 2), 9).unwrap();
    let sector = volume.fs.sector(1, 2).unwrap();
    volume.disk.fail(DiskFault::new(IoOp::Write, sector..sector + 1, 1));
    assert_eq!(msync(&world, mm, at, 4, MsFlags::SYNC), Err(Errno::Eio));
    assert_eq!(msync(&world, mm, at, 4, MsFlags::SYNC), Ok(()));
    assert_eq!(world.load(mm, page(at, 2)), Ok(9));
}

#[test]
fn what_will_be_needed_is_read_before_it_is_touched() {
    let world = World::new(64, 1);
    let volume = Volume::new(&world);
    let mm = world.context();
    let file = volume.file(&world, 1, 64, FileMode::READ);
    let request = MapRequest::file(file, 8, 48 * PAGE_SIZE, READ);
    let at = world.vm.mmap(mm, &request, &world.frames).unwrap();
    let advise =
        |at, pages: u64| world.vm.madvise(mm, at, pages * PAGE_SIZE, Advice::WillNeed, &world.frames);
    assert_eq!(advise(page(at, 2), 10), Ok(()));
    assert_eq!(file.inode().mapping().nrpages(), 10);
    world.vm.cache().io().poll(volume.disk);
    let major = world.event(VmEvent::PgMajFault);
    for n in 2..12 {
        assert!(world.vm.cache().is_cached(file.inode(), n + 8));
        assert_eq!(world.load(mm, page(at, n)), Ok(word(1, n + 8)));
    }
    assert_eq!(world.event(VmEvent::PgMajFault), major);
    assert_eq!(advise(page(at, 40), 16), Err(Errno::Enomem));
    // Of anonymous memory there is nothing to read.
    assert_eq!(advise(world.map(mm, 4), 4), Ok(()));
    assert_eq!(file.inode().mapping().mmaps(world.machine().cpu()), 1);
    world.verify();
}
