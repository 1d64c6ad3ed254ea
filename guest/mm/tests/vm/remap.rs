//! Memory that changes its size or its place, and snapshots of it.

use super::{World, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::{Flavour, Segv};
use mm::space::{Errno, MapFlags, MapRequest, Moving, OvercommitMode, Rss, ThpMode, Usage};
use mm::vmstat::{NodeStat, VmEvent};
use std::sync::atomic::Ordering;

#[test]
fn memory_grows_where_it_is_if_there_is_room() {
    let world = World::new(32, 1);
    world.vm.settings().set_thp(ThpMode::Never);
    let mm = world.context();
    let upper = world.map(mm, 8);
    let at = VirtAddr::new(upper.get() - 100 * PAGE_SIZE).unwrap();
    let request = MapRequest { addr: Some(at), flags: MapFlags::FIXED, ..MapRequest::anon(4 * PAGE_SIZE) };
    world.vm.mmap(mm, &request, &world.frames).unwrap();
    world.store(mm, at, 5).unwrap();
    let remap =
        |old, new, moving| world.vm.mremap(mm, at, old * PAGE_SIZE, new * PAGE_SIZE, moving, &world.frames);
    assert_eq!(remap(4, 50, Moving::Stay), Ok(at));
    world.store(mm, page(at, 49), 6).unwrap();
    assert_eq!(remap(50, 200, Moving::Stay), Err(Errno::Enomem));
    assert_eq!(mm.counters().usage(Usage::Total), 58);
    assert_eq!(remap(50, 10, Moving::Stay), Ok(at));
    assert_eq!((world.load(mm, page(at, 10)), mm.counters().usage(Usage::Total)), (Err(Segv::MapErr), 18));
    // Up to the neighbour, of which it is a part then.
    assert_eq!(remap(10, 100, Moving::Stay), Ok(at));
    assert_eq!(remap(0, 10, Moving::Stay), Err(Errno::Einval));
    assert_eq!(remap(200, 300, Moving::May), Err(Errno::Efault));
    assert_eq!(world.load(mm, at), Ok(5));
    world.verify();
}

#[test]
fn memory_moves_with_its_pages() {
    for mode in [ThpMode::Never, ThpMode::Always] {
        let world = World::new(64, 1);
        world.vm.settings().set_thp(mode);
        let mm = world.context();
        let at = world.map(mm, 1024);
        for n in 0..1024 {
            world.store(mm, page(at, n), n + 9).unwrap();
        }
        let faults = world.event(VmEvent::PgFault);
        let frames = &world.frames;
        let new = world.vm.mremap(mm, at, 1024 * PAGE_SIZE, 2048 * PAGE_SIZE, Moving::May, frames).unwrap();
        assert_ne!(new, at);
        for n in 0..1024 {
            assert_eq!(world.load(mm, page(new, n)), Ok(n + 9));
            assert_eq!(world.load(mm, page(at, n)), Err(Segv::MapErr));
            world.store(mm, page(new, n), n).unwrap();
        }
        assert_eq!((world.event(VmEvent::PgFault), mm.counters().rss(Rss::Anon)), (faults, 1024));
        world.verify();
        // Where its huge pages do not fit, they are divided.
        let (start, bytes) = (page(new, 3), 1021 * PAGE_SIZE);
        let odd = world.vm.mremap(mm, start, bytes, 5000 * PAGE_SIZE, Moving::May, frames).unwrap();
        for n in 3..1024 {
            assert_eq!(world.load(mm, page(odd, n - 3)), Ok(n));
        }
        world.verify();
        world.end(mm);
        assert_eq!(world.vm.stat().total(NodeStat::AnonMapped), 0);
    }
}

#[test]
fn a_snapshot_is_what_was_there() {
    for mode in [ThpMode::Never, ThpMode::Always] {
        let world = World::new(64, 1);
        world.vm.settings().set_thp(mode);
        let mm = world.context();
        let at = world.map(mm, 1024);
        for n in 0..1024 {
            world.store(mm, page(at, n), n).unwrap();
        }
        let before = world.free_pages();
        let copy = world.vm.snapshot(mm, at, 1024 * PAGE_SIZE, &world.frames).unwrap();
        assert!(before - world.free_pages() < 8);
        world.verify();
        for n in 0..10 {
            assert_eq!(world.flavour_of_store(mm, page(at, n), 1000), Some(Flavour::Cow));
            assert_eq!(world.load(mm, page(copy, n)), Ok(n));
        }
        assert_eq!(world.flavour_of_store(mm, page(copy, 500), 3), Some(Flavour::Cow));
        assert_eq!(world.load(mm, page(at, 500)), Ok(500));
        world.verify();
        world.vm.munmap(mm, at, 1024 * PAGE_SIZE, &world.frames).unwrap();
        assert_eq!(world.load(mm, page(copy, 1023)), Ok(1023));
        world.verify();
    }
}

#[test]
fn a_move_that_cannot_be_changes_nothing() {
    let world = World::new(64, 1);
    let mm = world.context();
    let at = world.map(mm, 1000);
    for n in 0..1000 {
        world.store(mm, page(at, n), n).unwrap();
    }
    let mut failed = 0;
    let new = loop {
        world.frames.credit.store(failed, Ordering::Relaxed);
        let frames = &world.frames;
        let moved = world.vm.mremap(mm, at, 1000 * PAGE_SIZE, 1500 * PAGE_SIZE, Moving::May, frames);
        world.frames.credit.store(i64::MAX, Ordering::Relaxed);
        world.verify();
        match moved {
            Ok(new) => break new,
            Err(error) => assert_eq!(error, Errno::Enomem),
        }
        failed += 1;
        assert_eq!(world.load(mm, page(at, 999)), Ok(999));
    };
    assert!(failed > 1);
    (0..1000).for_each(|n| assert_eq!(world.load(mm, page(new, n)), Ok(n)));
}

#[test]
fn one_area_too_many_moves_nothing() {
    for max in 1..6 {
        for (first, pages, cuts) in [(0, 3, 0), (0, 1, 1), (2, 1, 1), (1, 1, 2)] {
            let world = World::new(32, 1);
            let mm = world.context();
            let at = world.map(mm, 3);
            (0..3).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
            world.vm.settings().set_max_map_count(max);
            let (start, len, frames) = (page(at, first), pages * PAGE_SIZE, &world.frames);
            let moved = world.vm.mremap(mm, start, len, 1024 * len, Moving::May, frames);
            let census = world.vm.verify(mm).unwrap();
            let (mut total, mut grown) = (3, None);
            // No more areas than allowed afterwards, and at most one more on the way.
            if cuts < u64::from(max) {
                (total, grown) = (3 + 1023 * pages, moved.ok());
                assert!(grown.is_some(), "{pages} pages from {first} on, {max} areas: {moved:?}");
                assert_eq!((census.areas, census.pages), (1 + cuts, 3));
            } else {
                assert_eq!(moved, Err(Errno::Enomem), "{pages} pages from {first} on, {max} areas");
                assert_eq!((census.areas, census.pages), (1, 3));
            }
            assert_eq!(mm.counters().usage(Usage::Total), total);
            assert_eq!(world.vm.commit_info().committed, total);
            for n in 0..3 {
                let new = grown.filter(|_| (first..first + pages).contains(&n));
                let place = new.map_or(page(at, n), |new| page(new, n - first));
                assert_eq!(world.load(mm, place), Ok(n + 1));
            }
        }
    }
}

#[test]
fn what_moves_takes_its_promises_along() {
    let world = World::new(32, 1);
    let settings = world.vm.settings();
    settings.set_overcommit(OvercommitMode::Never);
    settings.set_admin_reserve(0);
    settings.set_user_reserve(0);
    settings.set_overcommit_pages(101);
    let mm = world.context();
    let at = world.map(mm, 60);
    (0..60).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
    let remap = |first, old, new| {
        let (old, new) = (old * PAGE_SIZE, new * PAGE_SIZE);
        world.vm.mremap(mm, page(at, first), old, new, Moving::May, &world.frames)
    };
    let state = || {
        let committed = world.vm.commit_info().committed;
        (committed, mm.counters().usage(Usage::Total), world.vm.verify(mm).unwrap().areas)
    };
    assert_eq!((remap(10, 30, 71), state()), (Err(Errno::Enomem), (60, 60, 1)));
    (0..60).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(n + 1)));
    let new = remap(10, 30, 70).unwrap();
    assert_eq!(state(), (100, 100, 3));
    (10..40).for_each(|n| assert_eq!(world.load(mm, page(new, n - 10)), Ok(n + 1)));
    let copy = world.vm.snapshot(mm, new, PAGE_SIZE, &world.frames);
    assert_eq!((copy, state()), (Err(Errno::Enomem), (100, 100, 3)));
    world.end(mm);
    assert_eq!(world.vm.commit().committed(), 0);
}

#[test]
fn the_same_size_changes_nothing() {
    let world = World::new(64, 1);
    world.vm.settings().set_thp(ThpMode::Always);
    let mm = world.context();
    let at = world.map(mm, 1024);
    world.store(mm, at, 1).unwrap();
    let before = world.vm.verify(mm).unwrap();
    assert_eq!((before.areas, before.entries), (1, 1));
    for max in [1, 100] {
        world.vm.settings().set_max_map_count(max);
        for (first, pages) in [(3, 7), (0, 100), (500, 524), (0, 1024)] {
            let (start, len) = (page(at, first), pages * PAGE_SIZE);
            for moving in [Moving::Stay, Moving::May] {
                let got = world.vm.mremap(mm, start, len, len - 5, moving, &world.frames);
                assert_eq!(got, Ok(start), "{pages} pages from {first} on, {max} areas");
                assert_eq!(world.vm.verify(mm), Ok(before));
            }
        }
    }
    let len = 2000 * PAGE_SIZE;
    assert_eq!(world.vm.mremap(mm, at, len, len, Moving::May, &world.frames), Err(Errno::Efault));
}

#[test]
fn a_snapshot_is_not_locked() {
    let world = World::new(32, 1);
    world.vm.settings().set_thp(ThpMode::Never);
    let mm = world.context();
    let (at, len) = (world.map(mm, 8), 8 * PAGE_SIZE);
    world.vm.mlock(mm, at, len, &world.frames).unwrap();
    let locked = || (mm.counters().usage(Usage::Locked), world.vm.stat().total(NodeStat::Mlocked));
    assert_eq!(locked(), (8, 8));
    let copy = world.vm.snapshot(mm, at, len, &world.frames).unwrap();
    assert_eq!(locked(), (8, 8));
    world.vm.munmap(mm, copy, len, &world.frames).unwrap();
    assert_eq!(locked(), (8, 8));
    // What moves stays locked.
    let moved = world.vm.mremap(mm, at, len, 1000 * PAGE_SIZE, Moving::May, &world.frames).unwrap();
    assert_eq!(locked(), (1000, 8));
    world.vm.munmap(mm, moved, 1000 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(locked(), (0, 0));
    world.verify();
}
