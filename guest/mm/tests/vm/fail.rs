//! Every allocation on the way may fail: the call says so, nothing has changed, and nothing is lost.

use super::{World, page};
use mm::addr::PAGE_SIZE;
use mm::fault::Fault;
use mm::port::Access;
use mm::space::{Advice, Errno, MapFlags, MapRequest, Moving, Usage};
use mm::vma::VmFlags;
use std::sync::atomic::Ordering;

/// Runs `call` with its first allocation failing, then the second, and so on, until it succeeds; how often it failed.
fn sweep(world: &World, mut call: impl FnMut() -> bool) -> u64 {
    for n in 0.. {
        world.frames.credit.store(n, Ordering::Relaxed);
        let done = call();
        world.frames.credit.store(i64::MAX, Ordering::Relaxed);
        world.verify();
        if done {
            return n as u64;
        }
        assert!(n < 1000, "it never succeeds");
    }
    unreachable!()
}

#[test]
fn contexts_areas_and_pages_survive_every_failure() {
    let world = World::new(64, 1);
    // Empty slabs, so that every object needs a page.
    let mut failed = sweep(&world, || match world.vm.create(&world.frames) {
        Ok(mm) => {
            world.run(mm);
            true
        }
        Err(error) => error != Errno::Enomem,
    });
    let mm = world.vm.mms().next().unwrap();
    let mut at = None;
    failed += sweep(&world, || {
        at = world.vm.mmap(mm, &MapRequest::anon(1024 * PAGE_SIZE), &world.frames).ok();
        at.is_some()
    });
    let at = at.unwrap();
    for n in [0, 700] {
        failed +=
            sweep(&world, || world.vm.fault(mm, page(at, n), Access::Write, &world.frames) != Fault::Oom);
    }
    for n in 0..1024 {
        world.store(mm, page(at, n), n).unwrap();
    }
    let frames = &world.frames;
    failed += sweep(&world, || {
        world.vm.mprotect(mm, page(at, 100), 300 * PAGE_SIZE, VmFlags::READ, frames).is_ok()
    });
    failed +=
        sweep(&world, || world.vm.madvise(mm, page(at, 600), PAGE_SIZE, Advice::DontNeed, frames).is_ok());
    failed += sweep(&world, || world.vm.munmap(mm, page(at, 200), 10 * PAGE_SIZE, frames).is_ok());
    for n in (0..1024).filter(|n| *n != 600 && !(200..210).contains(n)) {
        assert_eq!(world.load(mm, page(at, n)), Ok(n));
    }
    assert!(failed > 8, "only {failed} failures were tried");
}

#[test]
fn a_clone_that_fails_leaves_nothing_behind() {
    let world = World::new(64, 1);
    world.vm.settings().set_thp(mm::space::ThpMode::Never);
    let parent = world.context();
    let at = world.map_overlay(parent, 2000);
    for n in 0..2000 {
        world.store(parent, page(at, n), n).unwrap();
    }
    let failed = sweep(&world, || world.vm.clone_mm(parent, &world.frames).is_ok());
    assert!(failed > 5, "only {failed} failures were tried");
    assert_eq!(world.vm.mms().count(), 2);
    let child = world.vm.mms().last().unwrap();
    world.run(child);
    world.store(child, at, 77).unwrap();
    let written =
        sweep(&world, || world.vm.fault(child, page(at, 1), Access::Write, &world.frames) != Fault::Oom);
    assert_eq!(written, 1);
    world.run(parent);
    for n in 0..2000 {
        assert_eq!(world.load(parent, page(at, n)), Ok(n));
    }
    world.verify();
}

#[test]
fn what_is_there_survives_what_was_to_replace_or_move_it() {
    let world = World::new(64, 1);
    let mm = world.context();
    let at = world.map(mm, 3072);
    (0..3072).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
    let is_there = |gone: &[std::ops::Range<u64>]| {
        for n in (0..3072).filter(|n| !gone.iter().any(|gone| gone.contains(n))) {
            assert_eq!(world.load(mm, page(at, n)), Ok(n + 1));
        }
    };
    let areas = || {
        assert_eq!(world.vm.commit_info().committed, mm.counters().usage(Usage::Total));
        world.vm.verify(mm).unwrap().areas
    };
    let (addr, flags) = (Some(page(at, 100)), MapFlags::FIXED);
    let request = MapRequest { addr, flags, ..MapRequest::anon(500 * PAGE_SIZE) };
    // Both borders cut a huge page.
    let failed = sweep(&world, || {
        let is_done = world.vm.mmap(mm, &request, &world.frames).is_ok();
        if !is_done {
            assert_eq!(areas(), 1);
            is_there(&[]);
        }
        is_done
    });
    assert!(failed >= 2, "only {failed} failures were tried");
    is_there(&[100..600]);
    assert_eq!(world.load(mm, page(at, 100)), Ok(0));
    let (before, mut moved) = (areas(), None);
    let failed = sweep(&world, || {
        let (old, new) = (700 * PAGE_SIZE, 1000 * PAGE_SIZE);
        moved = world.vm.mremap(mm, page(at, 1100), old, new, Moving::May, &world.frames).ok();
        if moved.is_none() {
            assert_eq!(areas(), before);
            is_there(&[100..600]);
        }
        moved.is_some()
    });
    assert!(failed >= 3, "only {failed} failures were tried");
    is_there(&[100..600, 1100..1800]);
    (0..700).for_each(|n| assert_eq!(world.load(mm, page(moved.unwrap(), n)), Ok(1101 + n)));
    let before = areas();
    let failed = sweep(&world, || {
        let copied = world.vm.snapshot(mm, page(at, 2100), 800 * PAGE_SIZE, &world.frames).is_ok();
        assert_eq!(areas(), before + u64::from(copied));
        copied
    });
    assert!(failed >= 2, "only {failed} failures were tried");
    is_there(&[100..600, 1100..1800]);
}
