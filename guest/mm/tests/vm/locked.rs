//! What is locked in memory is counted while it is there, and no longer, whatever becomes of it.

use super::files::{READ, SHARED, Volume, WRITE, map, words};
use super::swap::Swapping;
use super::write::BOTH;
use super::{World, hugetlb, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::cache::FileMode;
use mm::fault::Flavour;
use mm::space::{MapFlags, MapRequest, Moving, Rss, ThpMode, Usage};
use mm::vma::VmFlags;
use mm::vmstat::NodeStat;

/// Locked pages, and pages on the list of those that cannot be reclaimed.
fn locked(world: &World) -> (u64, u64) {
    if let Some(mm) = world.vm.mms().next() {
        // What waits for its list gets there.
        let sent = world.reclaim.page_out_shared(mm, VirtAddr::default(), 0, &world.frames);
        assert_eq!(sent.ok(), Some(0));
    }
    world.verify();
    (world.vm.stat().total(NodeStat::Mlocked), world.vm.stat().total(NodeStat::Unevictable))
}

#[test]
fn a_copy_of_a_locked_page_of_a_file_is_locked_in_its_place() {
    let world = World::new(32, 1);
    let (volume, mm) = (Volume::new(&world), world.context());
    let file = volume.file(&world, 1, 8, FileMode::READ);
    let at = map(&world, mm, file, 8, WRITE);
    let before = words(&world, mm, at, 8);
    world.vm.mlock_on_fault(mm, at, 4 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(locked(&world), (4, 4), "pages of the file");
    world.store(mm, at, before[0]).unwrap();
    assert_eq!(locked(&world), (4, 4), "one of them is a copy now");
    // Copies of all eight are made now, and the pages of the file are nobody's.
    world.vm.mlock(mm, at, 8 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!((mm.counters().rss(Rss::Anon), mm.counters().rss(Rss::File)), (8, 0));
    assert_eq!((locked(&world), mm.counters().usage(Usage::Locked)), ((8, 8), 8));
    assert_eq!(words(&world, mm, at, 8), before);
    world.vm.munlock(mm, at, 8 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(locked(&world), (0, 0));
    world.end(mm);
}

#[test]
fn whoever_copies_a_locked_page_has_the_copy_locked_and_the_other_the_page_free() {
    let swapping = Swapping::new(32, 1, 3);
    let (world, mm) = (&swapping.world, swapping.world.context());
    world.vm.settings().set_thp(ThpMode::Never);
    swapping.on(1024, &[], None).unwrap();
    let at = world.map_overlay(mm, 2);
    for n in 0..2 {
        world.store(mm, page(at, n), 7 + n).unwrap();
    }
    world.vm.mlock(mm, at, 2 * PAGE_SIZE, &world.frames).unwrap();
    // Its areas are not locked.
    let child = world.vm.clone_mm(mm, &world.frames).unwrap();
    assert_eq!((locked(world), child.counters().usage(Usage::Locked)), ((2, 2), 0));
    assert_eq!(world.flavour_of_store(mm, at, 9), Some(Flavour::Cow));
    assert_eq!(locked(world), (2, 2));
    swapping.out(child, at, 2);
    swapping.out(mm, at, 2);
    assert_eq!(child.counters().rss(Rss::Swap), 1, "the page that is the child's alone can go");
    assert_eq!(mm.counters().rss(Rss::Swap), 0, "the copy cannot");
    world.vm.munlock(mm, at, 2 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(locked(world), (0, 0));
    swapping.out(mm, at, 2);
    assert_eq!((mm.counters().rss(Rss::Swap), child.counters().rss(Rss::Swap)), (2, 2));
    assert_eq!((world.load(mm, at), world.load(mm, page(at, 1))), (Ok(9), Ok(8)));
    world.run(child);
    assert_eq!((world.load(child, at), world.load(child, page(at, 1))), (Ok(7), Ok(8)));
    swapping.check();
    world.end(child);
    world.end(mm);
    assert_eq!(locked(world), (0, 0));
}

#[test]
fn a_copy_of_a_part_of_a_locked_huge_page_is_counted_in_its_place() {
    let world = World::new(64, 1);
    let mm = world.context();
    let at = world.map_overlay(mm, 512);
    assert_eq!(world.flavour_of_store(mm, at, 1), Some(Flavour::Huge));
    world.vm.mlock(mm, at, 512 * PAGE_SIZE, &world.frames).unwrap();
    let child = world.vm.clone_mm(mm, &world.frames).unwrap();
    assert_eq!(world.flavour_of_store(mm, page(at, 3), 2), Some(Flavour::Cow));
    assert_eq!(locked(&world).0, 512);
    world.vm.munlock(mm, at, 512 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(locked(&world), (0, 0));
    world.end(child);
    world.end(mm);
}

#[test]
fn pages_of_pools_are_never_counted_as_locked() {
    let world = World::new(64, 1);
    assert_eq!(world.pool.resize(4), 4);
    let mm = world.context();
    let small = world.map(mm, 8);
    world.vm.mlock(mm, small, 8 * PAGE_SIZE, &world.frames).unwrap();
    let counts = || (locked(&world).0, mm.counters().usage(Usage::Locked));
    // One that is touched later, one that was before, and one that was mapped so.
    let bytes = 512 * PAGE_SIZE;
    let later = hugetlb::map(&world, mm, 1, MapFlags::empty()).unwrap();
    world.vm.mlock_on_fault(mm, later, bytes, &world.frames).unwrap();
    world.store(mm, later, 1).unwrap();
    let before = hugetlb::map(&world, mm, 1, MapFlags::empty()).unwrap();
    world.store(mm, before, 1).unwrap();
    world.vm.mlock(mm, before, bytes, &world.frames).unwrap();
    let request = hugetlb::request(1);
    let request = MapRequest { vm: request.vm | VmFlags::LOCKED, ..request };
    let so = world.vm.mmap(mm, &request, &world.frames).unwrap();
    world.store(mm, so, 1).unwrap();
    assert_eq!((counts(), mm.counters().hugetlb()), ((8, 8), 3 * 512));
    world.vm.munlock(mm, later, bytes, &world.frames).unwrap();
    assert_eq!(counts(), (8, 8));
    for at in [later, before, so] {
        world.vm.munmap(mm, at, bytes, &world.frames).unwrap();
        assert_eq!(counts(), (8, 8));
    }
    world.end(mm);
    assert_eq!((locked(&world), world.pool.resize(0)), ((0, 0), 0));
}

#[test]
fn locking_what_is_shared_writes_nothing() {
    let world = World::new(32, 1);
    let (volume, mm) = (Volume::new(&world), world.context());
    let hole = volume.hole(&world, 1, 6);
    let file = volume.file(&world, 2, 4, BOTH);
    let dirty = || world.vm.stat().total(NodeStat::Dirty);
    // A disk without room for more: nothing is needed.
    for (file, ino, pages) in [(hole, 1, 6), (file, 2, 4)] {
        let placed = || (0..pages).filter(|&n| volume.fs.sector(ino, n).is_some()).count();
        let (at, before) = (map(&world, mm, file, pages, SHARED), placed());
        world.vm.mlock(mm, at, pages * PAGE_SIZE, &world.frames).unwrap();
        assert_eq!((mm.counters().rss(Rss::File), dirty(), placed()), (pages, 0, before));
        assert_eq!(locked(&world), (pages, pages));
        // The first write is noticed as ever.
        world.store(mm, page(at, 1), 1).unwrap();
        assert_eq!(dirty(), 1);
        world.vm.fsync(file, false, &world.frames).unwrap();
        world.vm.munmap(mm, at, pages * PAGE_SIZE, &world.frames).unwrap();
        assert_eq!((locked(&world), dirty()), ((0, 0), 0));
    }
    // Read only, it is as it was.
    let at = map(&world, mm, file, 4, READ);
    world.vm.mlock(mm, at, 4 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!((mm.counters().rss(Rss::File), locked(&world)), (4, (4, 4)));
    world.end(mm);
}

#[test]
fn a_locked_page_of_a_file_that_is_cut_off_is_locked_no_more() {
    let world = World::new(32, 1);
    let (volume, mm) = (Volume::new(&world), world.context());
    let file = volume.file(&world, 1, 6, BOTH);
    let (shown, copied) = (map(&world, mm, file, 6, READ), map(&world, mm, file, 6, WRITE));
    for at in [shown, copied] {
        world.vm.mlock(mm, at, 6 * PAGE_SIZE, &world.frames).unwrap();
    }
    assert_eq!(locked(&world), (12, 12));
    world.vm.truncate(file, 2 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(locked(&world), (4, 4));
    world.end(mm);
    assert_eq!(locked(&world), (0, 0));
}

#[test]
fn what_comes_to_a_locked_area_is_counted_once_however_it_comes_and_goes() {
    let swapping = Swapping::new(64, 1, 4);
    let (world, mm) = (&swapping.world, swapping.world.context());
    let area = swapping.on(1024, &[], None).unwrap();
    let resident = || (mm.counters().rss(Rss::Anon), world.vm.stat().total(NodeStat::Mlocked));
    // From swap, by a fault and by the end of swap.
    let at = world.map(mm, 64);
    for n in 0..64 {
        world.store(mm, page(at, n), n).unwrap();
    }
    swapping.out(mm, at, 64);
    world.vm.swap().set_page_cluster(2);
    world.vm.mlock_on_fault(mm, at, 64 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(resident(), (0, 0));
    assert_eq!(world.load(mm, page(at, 20)), Ok(20));
    let (some, mlocked) = resident();
    assert!(0 < some && some < 64 && some == mlocked, "{some} {mlocked}");
    swapping.off(area, 1024).unwrap();
    assert_eq!(resident(), (64, 64));
    // To another place, where there is more room.
    let to = world.vm.mremap(mm, at, 64 * PAGE_SIZE, 1024 * PAGE_SIZE, Moving::May, &world.frames).unwrap();
    assert_eq!(world.load(mm, page(to, 63)), Ok(63));
    assert_eq!((resident(), mm.counters().usage(Usage::Locked)), ((64, 64), 1024));
    // The huge page of zeroes is nobody's, and what takes its place is not.
    let huge = world.map(mm, 512);
    world.vm.mlock_on_fault(mm, huge, 512 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(world.flavour_of_load(mm, huge), Some(Flavour::HugeZero));
    assert_eq!(resident(), (64, 64));
    assert_eq!(world.flavour_of_store(mm, huge, 1), Some(Flavour::Huge));
    assert_eq!((resident(), locked(world)), ((576, 576), (576, 576)));
    world.vm.munmap(mm, page(huge, 100), 12 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(resident(), (564, 564));
    world.end(mm);
    assert_eq!(locked(world), (0, 0));
}
