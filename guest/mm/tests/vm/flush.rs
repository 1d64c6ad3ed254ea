//! Which flush is needed where: with TLBs that forget nothing by themselves, each change is seen by every CPU at once.

use super::{World, cpu, page, watch};
use mm::addr::PAGE_SIZE;
use mm::fault::Segv;
use mm::port::{Level, Machine as _};
use mm::space::{Advice, Errno, MapFlags, MapRequest, Moving, ThpMode};
use mm::vma::{Backing, VmFlags};

/// Two CPUs, small pages.
fn small() -> World {
    let world = World::new(64, 2);
    world.vm.settings().set_thp(ThpMode::Never);
    world
}

#[test]
fn an_unmapped_page_is_gone_for_every_cpu() {
    let world = small();
    let mm = world.context();
    let at = world.map(mm, 8);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        (0..8).for_each(|n| world.store(mm, page(at, n), n).unwrap());
    });
    world.vm.munmap(mm, at, 4 * PAGE_SIZE, &world.frames).unwrap();
    on.run_on(cpu(1), || {
        for n in 0..4 {
            assert_eq!(world.load(mm, page(at, n)), Err(Segv::MapErr));
        }
        assert_eq!(world.load(mm, page(at, 4)), Ok(4));
    });
}

#[test]
fn a_page_that_may_not_be_written_any_more_is_not() {
    let world = small();
    let mm = world.context();
    let at = world.map(mm, 2);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        world.store(mm, at, 1).unwrap();
    });
    world.vm.mprotect(mm, at, PAGE_SIZE, VmFlags::READ, &world.frames).unwrap();
    on.run_on(cpu(1), || assert_eq!(world.store(mm, at, 2), Err(Segv::AccErr)));
    assert_eq!(world.load(mm, at), Ok(1));
}

#[test]
fn a_parent_that_could_write_before_the_clone_copies_after_it() {
    let world = small();
    let parent = world.context();
    let at = world.map_overlay(parent, 2);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(parent);
        world.store(parent, at, 1).unwrap();
    });
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    on.run_on(cpu(1), || world.store(parent, at, 2).unwrap());
    world.run(child);
    assert_eq!(world.load(child, at), Ok(1));
    world.verify();
}

#[test]
fn a_copy_is_seen_by_readers_of_the_old_page() {
    let world = small();
    let parent = world.context();
    let at = world.map_overlay(parent, 2);
    world.store(parent, at, 1).unwrap();
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(child);
        assert_eq!(world.load(child, at), Ok(1));
    });
    world.run(child);
    world.store(child, at, 2).unwrap();
    on.run_on(cpu(1), || assert_eq!(world.load(child, at), Ok(2)));
}

#[test]
fn the_page_of_zeroes_is_replaced_for_every_reader() {
    let world = small();
    let mm = world.context();
    let at = world.map(mm, 2);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        assert_eq!(world.load(mm, at), Ok(0));
    });
    world.store(mm, at, 9).unwrap();
    on.run_on(cpu(1), || assert_eq!(world.load(mm, at), Ok(9)));
}

#[test]
fn the_huge_page_of_zeroes_is_replaced_for_every_reader() {
    let world = World::new(64, 2);
    let mm = world.context();
    let at = world.map(mm, 512);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        assert_eq!(world.load(mm, page(at, 3)), Ok(0));
    });
    world.store(mm, page(at, 3), 9).unwrap();
    on.run_on(cpu(1), || assert_eq!(world.load(mm, page(at, 3)), Ok(9)));
}

#[test]
fn pages_that_are_not_needed_are_zero_for_every_reader() {
    let world = small();
    let mm = world.context();
    let at = world.map(mm, 600);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        (0..600).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
    });
    world.vm.madvise(mm, at, 600 * PAGE_SIZE, Advice::DontNeed, &world.frames).unwrap();
    on.run_on(cpu(1), || {
        for n in 0..600 {
            assert_eq!(world.load(mm, page(at, n)), Ok(0));
        }
    });
}

#[test]
fn a_divided_huge_page_is_mapped_by_small_entries_for_every_cpu() {
    let world = World::new(64, 2);
    let mm = world.context();
    let at = world.map(mm, 512);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        world.store(mm, page(at, 3), 1).unwrap();
    });
    world.vm.mprotect(mm, page(at, 3), PAGE_SIZE, VmFlags::READ, &world.frames).unwrap();
    on.run_on(cpu(1), || {
        assert_eq!(world.store(mm, page(at, 3), 2), Err(Segv::AccErr));
        assert_eq!(world.store(mm, page(at, 4), 2), Ok(()));
    });
}

#[test]
fn no_cpu_goes_by_the_large_entry_once_it_is_divided() {
    let world = World::new(64, 2);
    let mm = world.context();
    let at = world.map(mm, 512);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        world.store(mm, page(at, 3), 1).unwrap();
    });
    // Divides, and changes no entry.
    world.vm.madvise(mm, at, 256 * PAGE_SIZE, Advice::DontFork, &world.frames).unwrap();
    let before = world.machine().tlb().stats();
    on.run_on(cpu(1), || assert_eq!(world.load(mm, page(at, 3)), Ok(1)));
    let after = world.machine().tlb().stats();
    assert_eq!((after.hits, after.walks), (before.hits, before.walks + 1));
}

#[test]
fn pages_and_tables_are_freed_when_no_cpu_reaches_them() {
    let world = small();
    let mm = world.context();
    let _watched = watch(world.machine());
    let on = world.machine().cpu();
    for pages in [4, 512, 1500] {
        let at = world.map(mm, pages);
        on.run_on(cpu(1), || {
            world.run(mm);
            (0..pages).for_each(|n| world.store(mm, page(at, n), n).unwrap());
        });
        if pages == 1500 {
            world.vm.madvise(mm, at, 600 * PAGE_SIZE, Advice::DontNeed, &world.frames).unwrap();
        }
        world.vm.munmap(mm, at, pages * PAGE_SIZE, &world.frames).unwrap();
    }
    world.verify();
}

#[test]
fn a_copy_of_a_pools_page_is_seen_by_readers_of_the_old_one() {
    let world = World::new(64, 2);
    assert_eq!(world.pool.resize(2), 2);
    let parent = world.context();
    let request = MapRequest {
        vm: VmFlags::READ | VmFlags::WRITE | VmFlags::HUGETLB,
        backing: Backing::Hugetlb(Level::PMD),
        flags: MapFlags::OVERLAY,
        ..MapRequest::anon(512 * PAGE_SIZE)
    };
    let at = world.vm.mmap(parent, &request, &world.frames).unwrap();
    world.store(parent, at, 1).unwrap();
    let child = world.vm.clone_mm(parent, &world.frames).unwrap();
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(child);
        assert_eq!(world.load(child, at), Ok(1));
    });
    world.run(child);
    world.store(child, at, 2).unwrap();
    on.run_on(cpu(1), || assert_eq!(world.load(child, at), Ok(2)));
}

#[test]
fn many_pages_go_with_few_flushes() {
    let world = small();
    let mm = world.context();
    let at = world.map(mm, 4000);
    (0..4000).for_each(|n| world.store(mm, page(at, n), n).unwrap());
    let before = world.machine().tlb().stats().flushes;
    world.vm.munmap(mm, at, 4000 * PAGE_SIZE, &world.frames).unwrap();
    let flushes = world.machine().tlb().stats().flushes - before;
    assert!(flushes < 4000 / 64, "{flushes} flushes");
}

#[test]
fn only_cpus_that_use_a_context_are_told() {
    let world = World::new(64, 2);
    let (one, two) = (world.vm.create(&world.frames).unwrap(), world.context());
    assert_eq!((one.cpus(), two.cpus()), (0, 1));
    let on = world.machine().cpu();
    on.run_on(cpu(1), || world.run(one));
    assert_eq!((one.cpus(), two.cpus()), (2, 1));
    world.run(one);
    assert_eq!((one.cpus(), two.cpus()), (3, 0));
}

#[test]
fn a_page_that_was_cleaned_is_dirty_again_after_the_next_write() {
    let world = small();
    let mm = world.context();
    let at = world.map(mm, 4);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        (0..3).for_each(|n| world.store(mm, page(at, n), 1).unwrap());
    });
    let clean = || world.vm.clean_range(mm, at, 4 * PAGE_SIZE, &world.frames);
    assert_eq!((clean(), clean()), (Ok(3), Ok(0)));
    on.run_on(cpu(1), || world.store(mm, page(at, 1), 2).unwrap());
    assert_eq!(clean(), Ok(1));
    on.run_on(cpu(1), || assert_eq!(world.load(mm, page(at, 1)), Ok(2)));
    assert_eq!(world.vm.clean_range(mm, at, 0, &world.frames), Err(Errno::Einval));
}

#[test]
fn what_has_moved_is_not_at_its_old_place_for_any_cpu() {
    let world = small();
    let mm = world.context();
    let at = world.map(mm, 4);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        (0..4).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
    });
    let frames = &world.frames;
    let new = world.vm.mremap(mm, at, 4 * PAGE_SIZE, 8 * PAGE_SIZE, Moving::May, frames).unwrap();
    assert_ne!(new, at);
    on.run_on(cpu(1), || {
        for n in 0..4 {
            assert_eq!(world.load(mm, page(at, n)), Err(Segv::MapErr));
            assert_eq!(world.load(mm, page(new, n)), Ok(n + 1));
        }
    });
    world.verify();
}

#[test]
fn a_snapshot_does_not_see_writes_of_any_cpu_after_it() {
    let world = small();
    let mm = world.context();
    let at = world.map(mm, 2);
    let on = world.machine().cpu();
    on.run_on(cpu(1), || {
        world.run(mm);
        world.store(mm, at, 1).unwrap();
    });
    let copy = world.vm.snapshot(mm, at, 2 * PAGE_SIZE, &world.frames).unwrap();
    on.run_on(cpu(1), || world.store(mm, at, 2).unwrap());
    assert_eq!((world.load(mm, at), world.load(mm, copy)), (Ok(2), Ok(1)));
    world.verify();
}
