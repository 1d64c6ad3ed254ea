//! Files that change size, are cleaned and dropped while two CPUs use them through mappings.

use super::files::{SHARED, Volume, WRITE, map, map_overlay};
use super::{World, cpu, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::{Fault, Segv};
use mm::port::{Access, Machine as _};
use mm::space::Mm;
use sim::Machine;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, RwLock};

type Context = Mm<'static, Machine>;

/// Stores; false where there is no page.
fn store(world: &World, mm: &Context, va: VirtAddr, value: u64) -> bool {
    loop {
        if world.machine().user().store_u64(va, value).is_ok() {
            return true;
        }
        match world.vm.touch(mm, va, Access::Write, &world.frames) {
            Fault::Minor(_) => {}
            Fault::Sigbus => return false,
            other => panic!("{other:?}"),
        }
    }
}

/// Loads; `None` where there is no page.
fn load(world: &World, mm: &Context, va: VirtAddr) -> Option<u64> {
    loop {
        if let Ok(value) = world.machine().user().load_u64(va) {
            return Some(value);
        }
        match world.vm.touch(mm, va, Access::Read, &world.frames) {
            Fault::Minor(_) => {}
            Fault::Sigbus => return None,
            other => panic!("{other:?}"),
        }
    }
}

/// Runs `work` on CPUs `0..cpus` at once, each in `mm`.
fn at_once(world: &World, mm: &Context, cpus: u32, work: impl Fn(u32) + Sync) {
    let gate = Barrier::new(cpus as usize);
    std::thread::scope(|scope| {
        for id in 0..cpus {
            let (gate, work) = (&gate, &work);
            scope.spawn(move || {
                world.machine().cpu().run_on(cpu(id), || {
                    world.run(mm);
                    gate.wait();
                    work(id);
                });
            });
        }
    });
    world.run(mm);
}

#[test]
fn a_file_that_changes_size_never_shows_what_is_gone() {
    let world = World::new(32, 3);
    let volume = Volume::new(&world);
    let mm = world.context();
    let file = volume.hole(&world, 1, 16);
    let at = [map(&world, mm, file, 16, SHARED), map(&world, mm, file, 16, WRITE)];
    // A round begins while the file is short and nobody is between looking at the round and storing it.
    let (over, round) = (AtomicBool::new(false), RwLock::new(1));
    at_once(&world, mm, 3, |id| {
        if id == 0 {
            for n in 2..150 {
                world.vm.truncate(file, 4 * PAGE_SIZE, &world.frames).unwrap();
                *round.write().unwrap() = n;
                world.vm.truncate(file, 16 * PAGE_SIZE, &world.frames).unwrap();
                std::thread::yield_now();
            }
            over.store(true, Ordering::Relaxed);
        }
        while id != 0 && !over.load(Ordering::Relaxed) {
            for n in 4..16 {
                let now = round.read().unwrap();
                for at in at {
                    let seen = load(&world, mm, page(at, n));
                    assert!(seen.is_none_or(|seen| seen == 0 || seen == *now), "{seen:?} in round {now}");
                    store(&world, mm, page(at, n), *now);
                }
            }
        }
    });
    world.verify();
    world.vm.truncate(file, 0, &world.frames).unwrap();
    let census = world.vm.verify_file(file.inode()).unwrap();
    assert_eq!((census.pages, census.mapped, census.dirty), (0, 0, 0));
    assert_eq!(mm.counters().resident(), 0);
    world.verify();
}

#[test]
fn two_cpus_write_map_clean_drop_and_cut_a_file_and_lose_nothing() {
    let world = World::new(32, 3);
    let volume = Volume::new(&world);
    let mm = world.context();
    let file = volume.hole(&world, 1, 48);
    let kept = map_overlay(&world, mm, file, 32, SHARED);
    let word = |at, n, id: u32| VirtAddr::new(page(at, n).get() + 8 * u64::from(id)).unwrap();
    let over = AtomicU64::new(0);
    at_once(&world, mm, 3, |id| {
        if id == 0 {
            while over.load(Ordering::Relaxed) < 2 {
                for n in 0..32 {
                    world.vm.clean_page(file.inode(), n, &world.frames).unwrap();
                    // What was cleaned is not on any disk, so it must stay in memory.
                    world.vm.cache().redirty(file.inode(), n);
                }
                world.vm.drop_pagecache();
                world.vm.truncate(file, 40 * PAGE_SIZE, &world.frames).unwrap();
                world.vm.truncate(file, 48 * PAGE_SIZE, &world.frames).unwrap();
            }
            return;
        }
        for round in 1..60 {
            let mine = map(&world, mm, file, 32, SHARED);
            for n in 0..32 {
                let at = if (round + n) % 2 == 0 { mine } else { kept };
                assert!(store(&world, mm, word(at, n, id), round));
                let other = if at == mine { kept } else { mine };
                assert_eq!(load(&world, mm, word(other, n, id)), Some(round), "a stale page");
            }
            world.vm.munmap(mm, mine, 32 * PAGE_SIZE, &world.frames).unwrap();
        }
        over.fetch_add(1, Ordering::Relaxed);
    });
    let sum: u64 = (0..64).map(|k| load(&world, mm, word(kept, k / 2, 1 + (k % 2) as u32)).unwrap()).sum();
    assert_eq!(sum, 64 * 59);
    world.verify();
    let census = world.vm.verify_file(file.inode()).unwrap();
    assert_eq!((census.held, census.areas), (0, 1));
    assert_eq!(world.load(mm, page(kept, 31).checked_add(PAGE_SIZE).unwrap()), Err(Segv::MapErr));
}
