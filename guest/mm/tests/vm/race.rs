//! CPUs at once on the same memory: no write is lost, nothing stale is read, no page is lost.
//!
//! Pages hold words that say where they belong, so a page that was given to somebody else too early shows.

use super::{World, cpu, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::Segv;
use mm::port::Machine as _;
use mm::space::{Advice, MapFlags, MapRequest, Mm, Rss, ThpMode};
use mm::vma::VmFlags;
use sim::Machine;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a race goes on.
const TIME: Duration = Duration::from_millis(400);
const ALL: VmFlags = VmFlags::READ.union(VmFlags::WRITE);

pub type Context = Mm<'static, Machine>;

fn world(thp: ThpMode) -> World {
    let world = World::new(64, 3);
    world.vm.settings().set_thp(thp);
    world
}

/// The word of page `n` that CPU `id` has for itself.
fn word(at: VirtAddr, n: u64, id: u32) -> VirtAddr {
    page(at, n).checked_add(u64::from(id) * 8).unwrap()
}

/// Runs `work` on CPUs `0..cpus` at once, which all run on `mm`.
pub fn at_once(world: &World, mm: &Context, cpus: u32, work: impl Fn(u32) + Sync) {
    std::thread::scope(|scope| {
        for id in 0..cpus {
            let work = &work;
            scope.spawn(move || {
                world.machine().cpu().run_on(cpu(id), || {
                    world.run(mm);
                    work(id);
                });
            });
        }
    });
}

/// Until the time is over, and at least once.
pub fn rounds() -> impl Iterator<Item = u64> {
    let end = Instant::now() + TIME;
    (0..).take_while(move |round| *round == 0 || Instant::now() < end)
}

/// Two CPUs touch each of `pages` pages for the first time at the same moment, in each round anew.
fn meet(thp: ThpMode, pages: u64, before: impl Fn(&World, &Context, VirtAddr)) {
    let world = world(thp);
    let mm = world.context();
    for round in rounds().take(400) {
        let at = world.map_overlay(mm, pages);
        before(&world, mm, at);
        let gate = Barrier::new(2);
        at_once(&world, mm, 2, |id| {
            for n in 0..pages {
                gate.wait();
                world.store(mm, word(at, n, id), round + n + 1).unwrap();
            }
        });
        world.run(mm);
        let lost = (0..2 * pages)
            .filter(|k| world.load(mm, word(at, k / 2, (k % 2) as u32)) != Ok(round + k / 2 + 1))
            .count();
        assert_eq!(lost, 0, "lost writes in round {round}");
        assert_eq!(mm.counters().rss(Rss::Anon), pages);
        world.verify();
        for other in world.vm.mms().filter(|other| other.id() != mm.id()) {
            world.end(other);
        }
        world.run(mm);
        world.vm.munmap(mm, at, pages * PAGE_SIZE, &world.frames).unwrap();
        assert_eq!(mm.counters().rss(Rss::Anon), 0);
    }
}

#[test]
fn two_first_writers_get_one_page() {
    meet(ThpMode::Never, 32, |_, _, _| ());
}

#[test]
fn two_writers_to_the_page_of_zeroes_get_one_page() {
    meet(ThpMode::Never, 32, |world, mm, at| {
        (0..32).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(0)));
    });
}

#[test]
fn two_writers_to_a_shared_page_get_one_copy() {
    meet(ThpMode::Never, 32, |world, mm, at| {
        (0..32).for_each(|n| world.store(mm, word(at, n, 7), 1).unwrap());
        world.vm.clone_mm(mm, &world.frames).unwrap();
    });
}

#[test]
fn two_first_writers_get_one_huge_page() {
    meet(ThpMode::Always, 512, |_, _, _| ());
}

#[test]
fn two_writers_to_a_shared_huge_page_get_one_copy_of_each_page() {
    meet(ThpMode::Always, 512, |world, mm, at| {
        world.store(mm, word(at, 0, 7), 1).unwrap();
        world.vm.clone_mm(mm, &world.frames).unwrap();
    });
}

/// What a word of page `n` says of its page and its owner.
fn tag(owner: u64, n: u64) -> u64 {
    owner << 32 | (n + 1)
}

/// CPU 0 changes memory in rounds while CPU 1 uses it, and CPU 2 takes each page that becomes free for another context.
fn beside(world: &World, mm: &Context, change: impl Fn(u64) + Sync, using: impl Fn() + Sync) {
    let other = world.vm.create(&world.frames).unwrap();
    let over = AtomicBool::new(false);
    at_once(world, mm, 3, |id| match id {
        0 => {
            rounds().for_each(&change);
            over.store(true, Ordering::Relaxed);
        }
        1 => {
            while !over.load(Ordering::Relaxed) {
                using();
            }
        }
        _ => {
            world.run(other);
            while !over.load(Ordering::Relaxed) {
                let at = world.map(other, 64);
                (0..64).for_each(|n| world.store(other, page(at, n), tag(9, n)).unwrap());
                (0..64).for_each(|n| assert_eq!(world.load(other, page(at, n)), Ok(tag(9, n))));
                world.vm.munmap(other, at, 64 * PAGE_SIZE, &world.frames).unwrap();
            }
        }
    });
    world.verify();
}

#[test]
fn a_reader_of_unmapped_memory_sees_nothing_of_others() {
    let world = world(ThpMode::Never);
    let mm = world.context();
    let at = world.map(mm, 64);
    let again = MapRequest { addr: Some(at), flags: MapFlags::FIXED, ..MapRequest::anon(64 * PAGE_SIZE) };
    let change = |_| {
        (0..64).for_each(|n| world.store(mm, page(at, n), tag(1, n)).unwrap());
        world.vm.munmap(mm, at, 64 * PAGE_SIZE, &world.frames).unwrap();
        world.vm.mmap(mm, &again, &world.frames).unwrap();
    };
    let using = || {
        for n in 0..64 {
            match world.load(mm, page(at, n)) {
                Ok(0) | Err(Segv::MapErr) => {}
                Ok(value) => assert_eq!(value, tag(1, n), "a stale read"),
                Err(segv) => panic!("{segv:?}"),
            }
        }
    };
    beside(&world, mm, change, using);
}

#[test]
fn what_is_not_needed_is_zero_or_written_again() {
    let world = world(ThpMode::Never);
    let mm = world.context();
    let at = world.map(mm, 64);
    let change = |_| world.vm.madvise(mm, at, 64 * PAGE_SIZE, Advice::DontNeed, &world.frames).unwrap();
    let using = || {
        for n in 0..64 {
            world.store(mm, page(at, n), tag(1, n)).unwrap();
            let seen = world.load(mm, page(at, n)).unwrap();
            assert!(seen == 0 || seen == tag(1, n), "a stale read: {seen:#x}");
        }
    };
    beside(&world, mm, change, using);
    assert_eq!(world.vm.verify(mm).unwrap().pages, mm.counters().rss(Rss::Anon));
}

#[test]
fn a_page_that_is_protected_does_not_change() {
    let world = world(ThpMode::Never);
    let mm = world.context();
    let at = world.map(mm, 16);
    let changed =
        |pages: &[u64]| (0..16).filter(|n| world.load(mm, page(at, *n)) != Ok(pages[*n as usize])).count();
    let change = |_| {
        world.vm.mprotect(mm, at, 16 * PAGE_SIZE, VmFlags::READ, &world.frames).unwrap();
        let now: Vec<_> = (0..16).map(|n| world.load(mm, page(at, n)).unwrap()).collect();
        std::thread::yield_now();
        assert_eq!(changed(&now), 0, "writes to protected pages");
        world.vm.mprotect(mm, at, 16 * PAGE_SIZE, ALL, &world.frames).unwrap();
    };
    let mine = std::sync::Mutex::new([0_u64; 16]);
    let using = || {
        let mut mine = mine.lock().unwrap();
        for n in 0..16 {
            match world.store(mm, page(at, n), mine[n as usize] + 1) {
                Ok(()) => mine[n as usize] += 1,
                Err(segv) => assert_eq!(segv, Segv::AccErr),
            }
        }
    };
    beside(&world, mm, change, using);
    let mine = mine.into_inner().unwrap();
    world.run(mm);
    assert_eq!(changed(&mine), 0, "lost writes");
}

#[test]
fn a_clone_is_of_one_moment_and_its_parent_loses_nothing() {
    for (thp, pages) in [(ThpMode::Never, 32), (ThpMode::Always, 512)] {
        let world = world(thp);
        let mm = world.context();
        let at = world.map_overlay(mm, pages);
        let turn = std::sync::Mutex::new(0_u64);
        let change = |_| {
            let child = world.vm.clone_mm(mm, &world.frames).unwrap();
            world.run(child);
            let seen: Vec<_> = (0..pages).map(|n| world.load(child, page(at, n)).unwrap()).collect();
            let again: Vec<_> = (0..pages).map(|n| world.load(child, page(at, n)).unwrap()).collect();
            assert_eq!(seen, again, "a clone saw what its parent wrote");
            // The parent writes its pages in order, so those of one moment never rise and differ by one at most.
            assert!(seen.is_sorted_by(|a, b| a >= b) && seen[0] - seen[pages as usize - 1] <= 1, "{seen:?}");
            world.end(child);
            world.run(mm);
        };
        let using = || {
            let mut turn = turn.lock().unwrap();
            *turn += 1;
            (0..pages).for_each(|n| world.store(mm, page(at, n), *turn).unwrap());
        };
        beside(&world, mm, change, using);
        let last = turn.into_inner().unwrap();
        world.run(mm);
        let lost = (0..pages).filter(|n| world.load(mm, page(at, *n)) != Ok(last)).count();
        assert_eq!(lost, 0, "lost writes");
    }
}

#[test]
fn dividing_a_huge_page_loses_no_write() {
    let world = world(ThpMode::Always);
    let mm = world.context();
    for round in rounds() {
        let at = world.map(mm, 512);
        let gate = Barrier::new(3);
        at_once(&world, mm, 3, |id| {
            world.store(mm, page(at, 511), 1).unwrap();
            gate.wait();
            if id == 0 {
                let n = round % 500 + 1;
                world.vm.madvise(mm, page(at, n), PAGE_SIZE, Advice::NoHugePage, &world.frames).unwrap();
                world.vm.mprotect(mm, page(at, n), PAGE_SIZE, VmFlags::READ, &world.frames).unwrap();
                world.vm.mprotect(mm, page(at, n), PAGE_SIZE, ALL, &world.frames).unwrap();
            }
            for n in 0..512 {
                while let Err(segv) = world.store(mm, word(at, n, id), round + n) {
                    assert_eq!(segv, Segv::AccErr);
                }
            }
        });
        world.run(mm);
        let wanted = (0..512 * 3).map(|k| round + k / 3).sum::<u64>();
        let sum = (0..512 * 3).map(|k| world.load(mm, word(at, k / 3, (k % 3) as u32)).unwrap()).sum::<u64>();
        assert_eq!((sum, mm.counters().rss(Rss::Anon)), (wanted, 512));
        world.verify();
        world.vm.munmap(mm, at, 512 * PAGE_SIZE, &world.frames).unwrap();
        assert_eq!(mm.counters().rss(Rss::Anon), 0);
    }
}
