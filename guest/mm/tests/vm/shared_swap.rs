//! Shared memory and swap: its pages go when they are not used, and everybody who shows them finds them again.

use super::race::{at_once, rounds};
use super::reclaim::reclaim;
use super::swap::Swapping;
use super::{World, page};
use mm::addr::{Order, PAGE_SIZE, VirtAddr};
use mm::phys::GfpFlags;
use mm::reclaim::Reclaim;
use mm::space::{MapRequest, Mm, Rss};
use mm::vma::VmFlags;
use mm::vmstat::{NodeStat, VmEvent};
use sim::Machine;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGES: u64 = 200;

fn map(world: &World, mm: &Mm<'static, Machine>, pages: u64) -> VirtAddr {
    let vm = VmFlags::READ | VmFlags::WRITE | VmFlags::SHARED;
    let request = MapRequest { vm, ..MapRequest::anon(pages * PAGE_SIZE) };
    world.vm.mmap(mm, &request, &world.frames).unwrap()
}

/// Makes room until no page of shared memory is left, nor one in the cache of swap.
fn send_all(swapping: &Swapping, reclaim: &Reclaim<'static, Machine>) {
    let left = || [NodeStat::Shmem, NodeStat::SwapCached].map(|what| swapping.world.vm.stat().total(what));
    let mut rounds = 0;
    while left() != [0, 0] {
        let _ = reclaim.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO);
        swapping.settle();
        rounds += 1;
        assert!(rounds < 200, "{:?} pages stay", left());
    }
}

#[test]
fn shared_pages_go_to_swap_and_all_who_show_them_find_them_again() {
    let swapping = Swapping::new(32, 1, 11);
    let world = &swapping.world;
    swapping.on(1024, &[], None).unwrap();
    let (one, reclaim) = (world.context(), reclaim(world));
    let at = map(world, one, PAGES);
    let two = world.vm.create(&world.frames).unwrap();
    world.vm.share(one, at, two, &world.frames).unwrap();
    for n in 0..PAGES {
        world.store(one, page(at, n), n + 1).unwrap();
    }
    let committed = world.vm.commit().committed();
    for round in 0..3 {
        send_all(&swapping, &reclaim);
        assert_eq!((one.counters().rss(Rss::Shmem), one.counters().rss(Rss::Swap)), (0, 0));
        assert_eq!(world.vm.stat().total(NodeStat::FileMapped), 0);
        assert_eq!(swapping.check(), PAGES, "one name for each page");
        for (mm, first) in [(two, 0), (one, 1)] {
            world.run(mm);
            for n in (first..PAGES).step_by(2) {
                assert_eq!(world.load(mm, page(at, n)), Ok(n + 1 + round));
                world.store(mm, page(at, n), n + 2 + round).unwrap();
            }
        }
        assert_eq!(world.vm.stat().total(NodeStat::Shmem), PAGES);
        assert_eq!(world.vm.swap().free_slots(), 1023, "a page that is back keeps no slot");
        swapping.check();
    }
    assert!(world.event(VmEvent::PswpOut) >= 3 * PAGES && world.event(VmEvent::PswpIn) >= 3 * PAGES);
    assert_eq!(world.vm.commit().committed(), committed);
    send_all(&swapping, &reclaim);
    world.end(one);
    assert_eq!(swapping.check(), PAGES, "the other shows them still");
    world.run(two);
    assert_eq!(world.load(two, at), Ok(4));
    world.end(two);
    assert_eq!((swapping.check(), world.vm.swap().free_slots()), (0, 1023), "they go with the last");
    assert_eq!(world.vm.stat().total(NodeStat::Shmem), 0);
}

#[test]
fn switching_swap_off_brings_shared_memory_back() {
    let swapping = Swapping::new(32, 1, 12);
    let world = &swapping.world;
    let area = swapping.on(1024, &[], None).unwrap();
    let (mm, reclaim) = (world.context(), reclaim(world));
    let at = map(world, mm, PAGES);
    for n in 0..PAGES {
        world.store(mm, page(at, n), n + 1).unwrap();
    }
    send_all(&swapping, &reclaim);
    swapping.off(area, 1024).unwrap();
    assert_eq!(world.vm.stat().total(NodeStat::Shmem), PAGES);
    for n in 0..PAGES {
        assert_eq!(world.load(mm, page(at, n)), Ok(n + 1));
    }
    world.verify();
    world.end(mm);
}

/// One CPU writes and reads shared memory, makes some anew, and ends some; another makes room all the time.
#[test]
fn nothing_is_lost_while_another_cpu_makes_room() {
    let swapping = Swapping::new(32, 2, 13);
    let world = &swapping.world;
    swapping.on(2048, &[], None).unwrap();
    let (mm, reclaim) = (world.context(), reclaim(world));
    let made = AtomicU64::new(0);
    at_once(world, mm, 2, |id| {
        if id == 1 {
            for _ in rounds() {
                let _ = reclaim.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO);
                swapping.settle();
            }
            return;
        }
        let kept = map(world, mm, PAGES);
        for round in rounds() {
            let brief = map(world, mm, 40);
            for n in 0..PAGES {
                if round != 0 {
                    assert_eq!(world.load(mm, page(kept, n)), Ok(round + n), "page {n} in round {round}");
                }
                world.store(mm, page(kept, n), round + n + 1).unwrap();
                if n < 40 {
                    world.store(mm, page(brief, n), n).unwrap();
                }
            }
            world.vm.munmap(mm, brief, 40 * PAGE_SIZE, &world.frames).unwrap();
            made.store(round + 1, Ordering::Relaxed);
        }
    });
    assert!(made.load(Ordering::Relaxed) > 1 && world.event(VmEvent::PswpOut) > 0);
    swapping.settle();
    // What ended while it was on its way to the disk goes when somebody makes room.
    let _ = reclaim.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO);
    swapping.settle();
    assert_eq!(world.vm.stat().total(NodeStat::Shmem) + swapping.check(), PAGES);
    world.run(mm);
    world.end(mm);
    let _ = reclaim.make_room(GfpFlags::GFP_HIGHUSER_MOVABLE, Order::ZERO);
    assert_eq!((swapping.check(), world.vm.stat().total(NodeStat::Shmem)), (0, 0));
}
