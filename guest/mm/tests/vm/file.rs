//! Mappings of files: they show the pages of the cache, and take and lose them as the file does.

use super::files::{READ, SHARED, Volume, WRITE, map, map_overlay, word, words};
use super::{World, cpu, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::cache::FileMode;
use mm::fault::{Fault, Flavour, Segv};
use mm::port::{Access, Machine as _};
use mm::space::{Errno, MapRequest, Moving, Rss};
use mm::vma::VmFlags;
use mm::vmstat::{NodeStat, VmEvent};

const BOTH: FileMode = FileMode::READ.union(FileMode::WRITE);

fn world() -> (World, Volume) {
    let world = World::new(32, 2);
    let volume = Volume::new(&world);
    (world, volume)
}

#[test]
fn a_mapping_needs_a_file_that_is_open_for_it() {
    let (world, volume) = world();
    let mm = world.context();
    let read = volume.file(&world, 1, 4, FileMode::READ);
    let write = volume.file(&world, 2, 4, FileMode::WRITE);
    let try_map = |file, vm, pgoff| {
        world.vm.mmap(mm, &MapRequest::file(file, pgoff, PAGE_SIZE, vm), &world.frames).map(drop)
    };
    assert_eq!(try_map(read, SHARED, 0), Err(Errno::Eacces));
    assert_eq!(try_map(write, READ, 0), Err(Errno::Eacces));
    assert_eq!(try_map(read, READ, 1 << 36), Err(Errno::Einval));
    assert_eq!(try_map(read, WRITE, 0), Ok(()));
    let at = map(&world, mm, read, 4, READ | VmFlags::SHARED);
    let protect = |vm| world.vm.mprotect(mm, at, PAGE_SIZE, vm, &world.frames);
    assert_eq!(protect(WRITE), Err(Errno::Eacces));
    assert_eq!(protect(VmFlags::empty()), Ok(()));
    world.verify();
    world.end(mm);
}

#[test]
fn a_first_read_is_major_and_reads_around() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 64, FileMode::READ);
    let at = map(&world, mm, file, 64, READ);
    let events = || [VmEvent::PgFault, VmEvent::PgMajFault].map(|event| world.event(event));
    let before = events();
    assert_eq!(world.flavour_of_load(mm, page(at, 20)), Some(Flavour::FileAround));
    assert_eq!(world.load(mm, page(at, 20)), Ok(word(1, 20)));
    let after = events();
    assert_eq!((after[0] - before[0], after[1] - before[1]), (1, 1));
    assert_eq!(mm.counters().faults(), (0, 1));
    assert!(file.inode().mapping().nrpages() >= 16, "the pages around were read, too");
    // A page that the first one brought, outside of what was mapped with it.
    assert_eq!(world.load(mm, page(at, 15)), Ok(word(1, 15)));
    let last = events();
    assert_eq!((last[0] - after[0], last[1] - after[1]), (1, 0));
    assert_eq!(mm.counters().faults(), (1, 1));
    world.verify();
    world.vm.verify_file(file.inode()).unwrap();
    world.end(mm);
    assert_eq!(world.vm.stat().total(NodeStat::FileMapped), 0);
    assert_eq!(world.vm.verify_file(file.inode()).unwrap().held, 0);
}

#[test]
fn around_a_page_that_was_read_all_in_memory_is_mapped() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 60, FileMode::READ);
    let warm = map(&world, mm, file, 60, READ);
    words(&world, mm, warm, 60);
    // Where an area begins at page 5 of the file, in the middle of a window.
    for (bytes, wanted) in [(4096, 1), (16 << 10, 4), (64 << 10, 16), (128 << 10, 32), (3 << 20, 55)] {
        world.vm.settings().set_fault_around_bytes(bytes);
        let at = world.vm.mmap(mm, &MapRequest::file(file, 5, 60 * PAGE_SIZE, READ), &world.frames).unwrap();
        let before = mm.counters().rss(Rss::File);
        let touched = (0..55).find(|n| (at.get() / PAGE_SIZE + n).is_multiple_of(32)).unwrap();
        let table = (at.get() / PAGE_SIZE + touched) / 512;
        let (mut first, pages) = (touched, bytes / PAGE_SIZE);
        while first > 0
            && !(at.get() / PAGE_SIZE + first).is_multiple_of(pages.next_power_of_two().min(512))
            && (at.get() / PAGE_SIZE + first - 1) / 512 == table
        {
            first -= 1;
        }
        assert_eq!(world.load(mm, page(at, touched)), Ok(word(1, touched + 5)));
        let end = (first..55.min(first + pages)).find(|n| (at.get() / PAGE_SIZE + n) / 512 != table);
        let expected = end.unwrap_or(55.min(first + pages)) - first;
        assert_eq!(mm.counters().rss(Rss::File) - before, expected, "{bytes} bytes, at most {wanted}");
        world.vm.munmap(mm, at, 60 * PAGE_SIZE, &world.frames).unwrap();
        world.verify();
    }
}

#[test]
fn behind_the_end_of_a_file_is_nothing() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 3, BOTH);
    let at = map(&world, mm, file, 5, SHARED);
    assert_eq!(words(&world, mm, at, 3), [word(1, 0), word(1, 1), word(1, 2)]);
    for access in [Access::Read, Access::Write] {
        assert_eq!(world.vm.touch(mm, page(at, 3), access, &world.frames), Fault::Sigbus);
    }
    world.verify();
}

#[test]
fn a_private_write_is_seen_by_nobody_else() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 8, FileMode::READ);
    let (mine, other) = (map(&world, mm, file, 8, WRITE), map(&world, mm, file, 8, READ));
    assert_eq!(world.flavour_of_store(mm, mine, 5), Some(Flavour::FileCow));
    assert_eq!(world.load(mm, page(mine, 1)), Ok(word(1, 1)));
    // What was read before is copied, too.
    assert_eq!(world.flavour_of_store(mm, page(mine, 1), 6), Some(Flavour::Cow));
    assert_eq!((world.load(mm, mine), world.load(mm, other)), (Ok(5), Ok(word(1, 0))));
    assert_eq!(world.load(mm, page(other, 1)), Ok(word(1, 1)));
    assert_eq!(mm.counters().rss(Rss::Anon), 2);
    assert_eq!(world.vm.stat().total(NodeStat::Dirty), 0);
    world.verify();
    world.end(mm);
    assert_eq!(world.vm.verify_file(file.inode()).unwrap().held, 0);
}

#[test]
fn a_shared_write_makes_its_page_dirty_once() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.hole(&world, 1, 4);
    let (one, two) = (map(&world, mm, file, 4, SHARED), map(&world, mm, file, 4, SHARED));
    assert_eq!(world.load(mm, one), Ok(0));
    assert_eq!(volume.fs.sector(1, 0), None);
    assert_eq!(world.flavour_of_store(mm, one, 9), Some(Flavour::FileShared));
    assert!(volume.fs.sector(1, 0).is_some(), "what is dirty has a place on the disk");
    assert_eq!(world.flavour_of_store(mm, page(two, 2), 8), Some(Flavour::FileShared));
    assert_eq!((world.load(mm, two), world.load(mm, page(one, 2))), (Ok(9), Ok(8)));
    assert_eq!(world.vm.stat().total(NodeStat::Dirty), 2);
    assert_eq!(world.vm.verify_file(file.inode()).unwrap().dirty, 2);
    world.verify();
    world.end(mm);
    assert_eq!(world.vm.verify_file(file.inode()).unwrap().dirty, 2);
}

#[test]
fn what_is_written_through_a_mapping_is_read() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 8, BOTH);
    let read = |n: u64| {
        let mut value = 0;
        // SAFETY: a page is shown, of which the first word is read.
        let sink = |from: std::ptr::NonNull<u8>, _| value = unsafe { from.cast::<u64>().read() };
        assert_eq!(world.vm.cache().read(file, n * PAGE_SIZE, 8, &world.frames, sink), Ok(8));
        value
    };
    assert_eq!(read(3), word(1, 3));
    let pages = world.vm.stat().total(NodeStat::FilePages);
    let at = map(&world, mm, file, 8, SHARED);
    // What was read is not read again to be mapped.
    let majors = world.event(VmEvent::PgMajFault);
    assert_eq!(world.load(mm, page(at, 3)), Ok(word(1, 3)));
    assert_eq!(world.event(VmEvent::PgMajFault), majors);
    world.store(mm, page(at, 3), 42).unwrap();
    assert_eq!(read(3), 42);
    assert_eq!(world.vm.stat().total(NodeStat::FilePages), pages, "one copy of each page");
    world.verify();
}

#[test]
fn without_room_on_the_disk_a_shared_write_fails_and_nothing_is_lost() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.hole(&world, 1, 4);
    volume.fs.create(9, 0);
    volume.fs.place(9, 0, 4096, 0);
    let at = map(&world, mm, file, 4, SHARED);
    assert_eq!(world.load(mm, at), Ok(0));
    assert_eq!(world.vm.touch(mm, at, Access::Write, &world.frames), Fault::Sigbus);
    assert_eq!((world.load(mm, at), world.vm.stat().total(NodeStat::Dirty)), (Ok(0), 0));
    world.verify();
}

#[test]
fn a_page_that_cannot_be_read_is_no_page_until_it_can() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 4, FileMode::READ);
    let at = map(&world, mm, file, 4, READ);
    volume.disk.fail(sim::DiskFault::new(mm::port::IoOp::Read, 0..u64::MAX, u32::MAX));
    assert_eq!(world.vm.touch(mm, at, Access::Read, &world.frames), Fault::Sigbus);
    volume.disk.heal();
    assert_eq!(world.load(mm, at), Ok(word(1, 0)));
    world.verify();
}

#[test]
fn parts_of_a_mapping_come_move_and_go() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 32, BOTH);
    let frames = &world.frames;
    let at = map(&world, mm, file, 16, SHARED);
    words(&world, mm, at, 16);
    world.store(mm, page(at, 9), 99).unwrap();
    world.vm.munmap(mm, page(at, 4), 2 * PAGE_SIZE, frames).unwrap();
    assert_eq!(world.load(mm, page(at, 4)), Err(Segv::MapErr));
    world.vm.mprotect(mm, page(at, 10), PAGE_SIZE, READ, frames).unwrap();
    assert_eq!(world.store(mm, page(at, 10), 1), Err(Segv::AccErr));
    world.vm.mprotect(mm, page(at, 10), PAGE_SIZE, WRITE, frames).unwrap();
    assert_eq!(world.flavour_of_store(mm, page(at, 10), 7), Some(Flavour::FileShared));
    world.verify();
    // It grows where it is or elsewhere, and shows what comes next in the file.
    let to = world.vm.mremap(mm, page(at, 6), 10 * PAGE_SIZE, 20 * PAGE_SIZE, Moving::May, frames).unwrap();
    assert_eq!(world.load(mm, page(to, 19)), Ok(word(1, 25)));
    assert_eq!((world.load(mm, page(to, 3)), world.load(mm, page(to, 4))), (Ok(99), Ok(7)));
    world.verify();
    // SAFETY: the file is not used below but through its areas.
    unsafe { world.vm.cache().close(file) };
    assert_eq!(world.load(mm, page(to, 18)), Ok(word(1, 24)));
    world.verify();
    world.end(mm);
    let inode = world.vm.cache().find_inode(volume.fs, 1).unwrap();
    assert_eq!(inode.refs(), 1, "no area has it any more");
    let census = world.vm.verify_file(inode).unwrap();
    assert_eq!((census.held, census.mapped, census.areas, census.dirty), (0, 0, 0, 2));
}

#[test]
fn a_clone_has_its_parents_copies_and_the_same_file() {
    let (world, volume) = world();
    let parent = world.context();
    let file = volume.file(&world, 1, 8, BOTH);
    let private = map_overlay(&world, parent, file, 8, WRITE);
    let shared = map_overlay(&world, parent, file, 8, SHARED);
    words(&world, parent, private, 4);
    world.store(parent, private, 5).unwrap();
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    world.verify();
    world.run(child);
    assert_eq!((world.load(child, private), world.load(child, page(private, 1))), (Ok(5), Ok(word(1, 1))));
    world.store(child, private, 6).unwrap();
    world.store(child, page(shared, 3), 33).unwrap();
    world.run(parent);
    assert_eq!((world.load(parent, private), world.load(parent, page(shared, 3))), (Ok(5), Ok(33)));
    assert_eq!(world.load(parent, page(private, 3)), Ok(33), "not copied yet, so it is the file's");
    world.verify();
    world.end(parent);
    world.run(child);
    assert_eq!(world.load(child, private), Ok(6));
    world.end(child);
    assert_eq!(world.vm.verify_file(file.inode()).unwrap().held, 0);
}

#[test]
fn a_page_of_a_file_that_was_cleaned_is_dirty_again_after_the_next_write() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 2, BOTH);
    let at = map(&world, mm, file, 2, SHARED);
    let on = world.machine().cpu();
    let dirty = || world.vm.verify_file(file.inode()).unwrap().dirty;
    let mut lost = 0;
    for round in 0..16 {
        on.run_on(cpu(1), || {
            world.run(mm);
            world.store(mm, at, round).unwrap();
        });
        assert_eq!(dirty(), 1);
        assert!(world.vm.clean_page(file.inode(), 0, &world.frames).unwrap(), "it was written");
        assert_eq!(dirty(), 0);
        on.run_on(cpu(1), || world.store(mm, at, round + 100).unwrap());
        lost += u64::from(dirty() == 0);
        world.vm.clean_page(file.inode(), 0, &world.frames).unwrap();
    }
    assert_eq!(lost, 0, "writes that nobody learned of");
    world.verify();
}

#[test]
fn a_shorter_file_takes_pages_and_copies_away() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 8, BOTH);
    let (shared, private) = (map(&world, mm, file, 8, SHARED), map(&world, mm, file, 8, WRITE));
    words(&world, mm, shared, 8);
    (0..8).for_each(|n| world.store(mm, page(private, n), n).unwrap());
    let second = |at: VirtAddr, n| VirtAddr::new(page(at, n).get() + 2048).unwrap();
    world.store(mm, second(shared, 2), 77).unwrap();
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        assert_eq!(world.load(mm, page(shared, 5)), Ok(word(1, 5)));
    });
    world.vm.truncate(file, 2 * PAGE_SIZE + 100, &world.frames).unwrap();
    on.run_on(cpu(1), || {
        for at in [shared, private] {
            assert_eq!(world.vm.touch(mm, page(at, 5), Access::Read, &world.frames), Fault::Sigbus);
            assert!(world.machine().user().load_u64(page(at, 5)).is_err(), "a stale translation");
        }
    });
    assert_eq!(file.inode().mapping().nrpages(), 3);
    assert_eq!((world.load(mm, page(shared, 2)), world.load(mm, second(shared, 2))), (Ok(word(1, 2)), Ok(0)));
    assert_eq!(world.load(mm, page(private, 2)), Ok(2), "a copy before the end stays");
    world.verify();
    // Longer again: zeroes, whatever was there.
    world.vm.truncate(file, 8 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!((world.load(mm, page(shared, 5)), world.load(mm, page(private, 5))), (Ok(0), Ok(0)));
    world.verify();
    world.vm.truncate(file, 0, &world.frames).unwrap();
    let census = world.vm.verify_file(file.inode()).unwrap();
    assert_eq!((census.pages, census.dirty, census.mapped, census.areas), (0, 0, 0, 2));
    assert_eq!(world.vm.stat().total(NodeStat::Dirty) + world.vm.stat().total(NodeStat::FilePages), 0);
    assert_eq!((volume.fs.size(1), volume.fs.sector(1, 0)), (Some(0), None));
    world.verify();
}

#[test]
fn the_disk_has_changed_and_is_read_again() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 4, BOTH);
    let at = map(&world, mm, file, 4, SHARED);
    words(&world, mm, at, 4);
    let frames = &world.frames;
    world.store(mm, page(at, 1), 11).unwrap();
    volume.disk.poke(volume.fs.sector(1, 2).unwrap() * 512, &222_u64.to_le_bytes());
    assert_eq!(world.vm.invalidate(file.inode(), 0, 4, frames), Err(Errno::Ebusy), "a dirty page stays");
    assert_eq!((world.load(mm, page(at, 1)), world.load(mm, page(at, 2))), (Ok(11), Ok(222)));
    world.verify();
    assert_eq!(world.vm.verify_file(file.inode()).unwrap().dirty, 1);
}

#[test]
fn clean_pages_that_nothing_maps_can_be_dropped() {
    let (world, volume) = world();
    let mm = world.context();
    let file = volume.file(&world, 1, 8, BOTH);
    let at = map(&world, mm, file, 8, SHARED);
    words(&world, mm, at, 8);
    world.store(mm, page(at, 1), 11).unwrap();
    assert_eq!(world.vm.drop_pagecache(), 0, "all are mapped");
    world.vm.munmap(mm, page(at, 1), 4 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(world.vm.invalidate_clean(file.inode(), 0, 4), 2, "not the dirty one");
    assert_eq!((world.vm.drop_pagecache(), world.event(VmEvent::DropPagecache)), (1, 2));
    assert_eq!(file.inode().mapping().nrpages(), 5);
    world.verify();
    assert_eq!(world.vm.verify_file(file.inode()).unwrap().held, 0);
}
