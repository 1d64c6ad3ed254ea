//! Areas are divided and joined as rights and treatment ask for it, and pages stay where they are.

use super::{World, page};
use mm::addr::PAGE_SIZE;
use mm::space::{Advice, Errno, MapFlags, MapRequest, ThpMode};
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
