//! Areas are divided and joined as rights and treatment ask for it, and pages stay where they are.

use super::{World, page};
use mm::addr::PAGE_SIZE;
use mm::space::{Advice, Errno, MapFlags, MapRequest, OvercommitMode, ThpMode, Usage};
use mm::vma::VmFlags;

#[test]
fn alike_neighbours_are_one_area() {
    let world = World::new(32, 1);
    world.vm.settings().set_thp(ThpMode::Never);
    let mm = world.context();
    let areas = || world.vm.verify(mm).unwrap().areas;
    let (upper, lower) = (world.map(mm, 8), world.map(mm, 8));
    assert_eq!((lower.get() + 8 * PAGE_SIZE, areas()), (upper.get(), 1));
    for n in 0..16 {
        world.store(mm, page(lower, n), n).unwrap();
    }
    let read = VmFlags::READ;
    world.vm.mprotect(mm, page(lower, 4), 8 * PAGE_SIZE, read, &world.frames).unwrap();
    assert_eq!(areas(), 3);
    world.vm.madvise(mm, page(lower, 6), 2 * PAGE_SIZE, Advice::Random, &world.frames).unwrap();
    assert_eq!(areas(), 5);
    world.vm.madvise(mm, lower, 16 * PAGE_SIZE, Advice::Normal, &world.frames).unwrap();
    assert_eq!(areas(), 3);
    let all = VmFlags::READ | VmFlags::WRITE;
    world.vm.mprotect(mm, lower, 16 * PAGE_SIZE, all, &world.frames).unwrap();
    assert_eq!(areas(), 1);
    world.vm.munmap(mm, page(lower, 5), 2 * PAGE_SIZE, &world.frames).unwrap();
    assert_eq!(areas(), 2);
    // The hole is filled with the same; its pages are new.
    let request = MapRequest {
        addr: Some(page(lower, 5)),
        flags: MapFlags::FIXED_NOREPLACE,
        ..MapRequest::anon(2 * PAGE_SIZE)
    };
    world.vm.mmap(mm, &request, &world.frames).unwrap();
    assert_eq!(areas(), 1);
    for n in 0..16 {
        let wanted = if n == 5 || n == 6 { 0 } else { n };
        assert_eq!(world.load(mm, page(lower, n)), Ok(wanted));
    }
    world.verify();
}

#[test]
fn what_is_at_a_fixed_place_is_replaced() {
    let world = World::new(32, 1);
    let mm = world.context();
    let at = world.map(mm, 512);
    for n in 0..512 {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    let request = MapRequest {
        addr: Some(page(at, 100)),
        flags: MapFlags::FIXED,
        vm: VmFlags::READ,
        ..MapRequest::anon(50 * PAGE_SIZE)
    };
    world.vm.mmap(mm, &request, &world.frames).unwrap();
    world.verify();
    assert_eq!(world.vm.verify(mm).unwrap().areas, 3);
    for n in 0..512 {
        let wanted = if (100..150).contains(&n) { 0 } else { n + 1 };
        assert_eq!(world.load(mm, page(at, n)), Ok(wanted));
    }
}

#[test]
fn there_are_no_more_areas_than_allowed() {
    let world = World::new(32, 1);
    let mm = world.context();
    world.vm.settings().set_max_map_count(10);
    let at = world.map(mm, 64);
    let dont = Advice::DontFork;
    for n in 0..4 {
        world.vm.madvise(mm, page(at, 2 * n + 1), PAGE_SIZE, dont, &world.frames).unwrap();
    }
    let areas = world.vm.verify(mm).unwrap().areas;
    assert_eq!(areas, 9);
    assert_eq!(world.vm.madvise(mm, page(at, 20), PAGE_SIZE, dont, &world.frames), Ok(()));
    assert_eq!(world.vm.madvise(mm, page(at, 30), PAGE_SIZE, dont, &world.frames), Err(Errno::Enomem));
    assert_eq!(world.vm.mmap(mm, &MapRequest::anon(PAGE_SIZE), &world.frames), Err(Errno::Enomem));
    world.verify();
}

#[test]
fn what_may_not_be_promised_takes_nothing_from_its_place() {
    let world = World::new(32, 1);
    let settings = world.vm.settings();
    settings.set_overcommit(OvercommitMode::Never);
    settings.set_admin_reserve(0);
    settings.set_user_reserve(0);
    settings.set_overcommit_pages(101);
    let mm = world.context();
    let at = world.map(mm, 60);
    let view = MapRequest { vm: VmFlags::READ, ..MapRequest::anon(50 * PAGE_SIZE) };
    let view = world.vm.mmap(mm, &view, &world.frames).unwrap();
    assert_eq!(page(view, 50), at);
    for n in 0..60 {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    let fixed = |first, pages| {
        let (addr, flags) = (Some(page(view, first)), MapFlags::FIXED);
        let request = MapRequest { addr, flags, ..MapRequest::anon(pages * PAGE_SIZE) };
        world.vm.mmap(mm, &request, &world.frames)
    };
    let committed = || world.vm.commit_info().committed;
    // 20 of the pages are promised already, and no more than 40 others may be.
    assert_eq!(fixed(9, 61), Err(Errno::Enomem));
    assert_eq!((committed(), world.vm.verify(mm).unwrap().areas), (60, 2));
    (0..60).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(n + 1)));
    assert_eq!(fixed(10, 60), Ok(page(view, 10)));
    assert_eq!(committed(), 100);
    (0..60).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(if n < 20 { 0 } else { n + 1 })));
    // What is promised already needs nothing more, even if less may be promised by now.
    settings.set_overcommit_pages(50);
    assert_eq!((fixed(10, 90), fixed(30, 80)), (Ok(page(view, 10)), Ok(page(view, 30))));
    assert_eq!((committed(), mm.counters().usage(Usage::Total)), (100, 110));
    // What nobody writes gives its promises back.
    let read = MapRequest {
        addr: Some(page(view, 50)),
        flags: MapFlags::FIXED,
        vm: VmFlags::READ,
        ..MapRequest::anon(30 * PAGE_SIZE)
    };
    assert_eq!(world.vm.mmap(mm, &read, &world.frames), Ok(page(view, 50)));
    assert_eq!(committed(), 70);
    world.end(mm);
    assert_eq!(world.vm.commit().committed(), 0);
}

#[test]
fn one_area_too_many_takes_nothing_from_its_place() {
    // Pages 2..8 of 10 are in areas of two pages each.
    for max in 1..9 {
        for (first, pages, cuts, gone) in
            [(0, 1, 1, 1), (0, 2, 0, 1), (3, 1, 1, 1), (1, 2, 2, 2), (1, 8, 2, 5)]
        {
            let world = World::new(32, 1);
            let mm = world.context();
            let at = world.map(mm, 10);
            for n in [2, 6] {
                world.vm.madvise(mm, page(at, n), 2 * PAGE_SIZE, Advice::DontFork, &world.frames).unwrap();
            }
            (0..10).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
            world.vm.settings().set_max_map_count(max);
            let request = MapRequest {
                addr: Some(page(at, first)),
                flags: MapFlags::FIXED,
                vm: VmFlags::READ,
                ..MapRequest::anon(pages * PAGE_SIZE)
            };
            let mapped = world.vm.mmap(mm, &request, &world.frames);
            let areas = world.vm.verify(mm).unwrap().areas;
            // No more areas than allowed afterwards, and at most one more on the way.
            let fits = 5 + cuts - gone < u64::from(max) && 5 + cuts <= u64::from(max) + 1;
            let wanted = if fits { Ok(page(at, first)) } else { Err(Errno::Enomem) };
            assert_eq!(mapped, wanted, "{pages} pages from {first} on, {max} areas");
            assert_eq!(areas, if fits { 5 + cuts - gone + 1 } else { 5 });
            for n in 0..10 {
                let is_new = fits && (first..first + pages).contains(&n);
                assert_eq!(world.load(mm, page(at, n)), Ok(if is_new { 0 } else { n + 1 }));
            }
        }
    }
}
