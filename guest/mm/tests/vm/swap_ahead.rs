//! Pages that were read ahead are mapped with the one that was waited for: how many accesses trap, and which pages are
//! left out.

use super::race::{at_once, rounds};
use super::swap::Swapping;
use super::{World, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::fault::Fault;
use mm::port::{Access, IoOp};
use mm::space::{Mm, Rss, ThpMode};
use mm::vma::VmFlags;
use mm::vmstat::VmEvent;
use sim::{DiskFault, Machine};

/// Pages of a window, unless somebody sets another number.
const WINDOW: u64 = 8;

/// A context with `pages` pages in swap, which hold their number and one. The first is the last but `before` of a table, and
/// the slots are in a row and start with a window's.
fn in_swap(swapping: &Swapping, pages: u64, before: u64) -> (&Mm<'static, Machine>, VirtAddr) {
    let (world, mm) = (&swapping.world, swapping.world.context());
    world.vm.settings().set_thp(ThpMode::Never);
    // Slots come from clusters of which nothing is taken, so not from the header's.
    swapping.on(4096, &[], None).unwrap();
    let at = world.map_overlay(mm, pages + 1024);
    let at = page(VirtAddr::new(at.get().next_multiple_of(512 * PAGE_SIZE)).unwrap(), 512 - before);
    (0..pages).for_each(|n| world.store(mm, page(at, n), n + 1).unwrap());
    swapping.out(mm, at, pages);
    assert_eq!((mm.counters().rss(Rss::Anon), mm.counters().rss(Rss::Swap)), (0, pages));
    (mm, at)
}

/// The requests for pages that `access` made: where each begins, counted from the first slot of the pages, and how many pages.
fn reads_of(swapping: &Swapping, access: impl FnOnce()) -> Vec<(u64, u64)> {
    let _ = swapping.disk.take_log();
    access();
    let log = swapping.disk.take_log();
    log.iter().map(|read| (read.sector / 8 - 2048 - 512, read.bytes / PAGE_SIZE)).collect()
}

/// Whether page `n`, which holds its number and one, is looked at without a trap.
fn is_mapped(world: &World, mm: &Mm<'static, Machine>, at: VirtAddr, n: u64) -> bool {
    let is_mapped = world.machine().user().load_u64(page(at, n)).is_ok();
    assert_eq!(world.load(mm, page(at, n)), Ok(n + 1));
    is_mapped
}

#[test]
fn a_window_costs_one_trap() {
    const PAGES: u64 = 1024;
    for (order, is_upwards) in [(3, true), (3, false), (0, true), (5, true)] {
        let swapping = Swapping::new(16, 1, 21);
        let (mm, at) = in_swap(&swapping, PAGES, 512);
        swapping.world.vm.swap().set_page_cluster(order);
        let mut traps = 0;
        for n in 0..PAGES {
            let n = if is_upwards { n } else { PAGES - 1 - n };
            traps += u64::from(!is_mapped(&swapping.world, mm, at, n));
        }
        // The first windows are smaller: what was used so far does not stand for more.
        let windows = if order == 5 { PAGES / 32 + 2 } else { PAGES >> order };
        // After the first they come by twos, and only the first of those was waited for.
        let reads = if order == 0 { windows } else { 1 + (windows - 1).div_ceil(2) };
        let majors = swapping.event(VmEvent::PgMajFault);
        assert_eq!(majors, reads, "order {order}, upwards: {is_upwards}");
        // What is larger than the first windows may be mapped with the last of those.
        assert!(traps == windows || order == 5 && traps < windows, "order {order}: {traps} traps");
        assert_eq!(swapping.event(VmEvent::PswpIn), PAGES);
        assert_eq!(swapping.event(VmEvent::SwapRa), PAGES - reads);
        assert_eq!(swapping.event(VmEvent::SwapRaHit), PAGES - reads);
        assert_eq!((mm.counters().rss(Rss::Anon), mm.counters().rss(Rss::Swap)), (PAGES, 0));
        swapping.check();
        swapping.world.end(mm);
        assert_eq!(swapping.check(), 0);
    }
}

#[test]
fn pages_from_anywhere_are_read_alone_and_mapped_alone() {
    const PAGES: u64 = 1024;
    let swapping = Swapping::new(16, 1, 22);
    let (mm, at) = in_swap(&swapping, PAGES, 512);
    // Far from each other, and the first reads say nothing yet.
    let some: Vec<u64> = (0..64).map(|n| n * 379 % PAGES).collect();
    let (before, after) = some.split_at(8);
    before.iter().for_each(|&n| assert_eq!(swapping.world.load(mm, page(at, n)), Ok(n + 1)));
    let _ = swapping.disk.take_log();
    let fresh = after.iter().filter(|&&n| !is_mapped(&swapping.world, mm, at, n)).count();
    let reads = swapping.disk.take_log();
    assert!(fresh > 40 && reads.len() == fresh, "{fresh} pages, {} reads", reads.len());
    assert!(reads.iter().all(|read| read.bytes == PAGE_SIZE));
    swapping.check();
}

#[test]
fn a_window_ends_with_its_table_and_with_its_area() {
    let swapping = Swapping::new(16, 1, 23);
    let (world, (mm, at)) = (&swapping.world, in_swap(&swapping, 32, 4));
    // Another area in the middle of the third window.
    world.vm.mprotect(mm, page(at, 20), 2 * PAGE_SIZE, VmFlags::READ, &world.frames).unwrap();
    let trapped: Vec<u64> = (0..32).filter(|&n| !is_mapped(world, mm, at, n)).collect();
    assert_eq!(trapped, [0, 4, 8, 16, 20, 22, 24]);
    // Those at 0, 8 and 24: with the second window the third was read.
    assert_eq!((swapping.event(VmEvent::PgMajFault), swapping.event(VmEvent::PswpIn)), (3, 32));
    swapping.check();
    // Each has the rights of its area.
    for n in 0..32 {
        assert_eq!(world.store(mm, page(at, n), 100 + n).is_ok(), !(20..22).contains(&n), "page {n}");
    }
    swapping.check();
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn a_page_that_could_not_be_read_is_not_mapped_with_the_others() {
    let swapping = Swapping::new(16, 1, 24);
    let (world, (mm, at)) = (&swapping.world, in_swap(&swapping, WINDOW, 512));
    // Each page is a request of its own.
    swapping.disk.set_max_pages(1);
    let slot = 512 + 3;
    let sector = 8 * (2048 + slot);
    swapping.disk.fail(DiskFault::new(IoOp::Read, sector..sector + 8, u32::MAX));
    let Fault::InSwap(place) = world.vm.fault(mm, at, Access::Read, &world.frames) else { panic!() };
    let held = world.vm.wait_for_swap(mm, at.get() / PAGE_SIZE, place, &world.frames).unwrap();
    swapping.settle();
    assert_eq!(world.load(mm, at), Ok(1));
    drop(held);
    assert_eq!((mm.counters().rss(Rss::Anon), swapping.disk.failures()), (3, 1));
    assert_eq!(world.resolve(mm, page(at, 3), Access::Read), Fault::Sigbus);
    // It separates what is behind it.
    assert!(!is_mapped(world, mm, at, 4) && (5..WINDOW).all(|n| is_mapped(world, mm, at, n)));
    swapping.disk.heal();
    swapping.check();
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn the_window_after_next_is_on_its_way_when_somebody_goes_on() {
    let swapping = Swapping::new(16, 1, 27);
    let (world, (mm, at)) = (&swapping.world, in_swap(&swapping, 10 * WINDOW, 512));
    let load = |n| assert_eq!(world.load(mm, page(at, n)), Ok(n + 1));
    assert_eq!(reads_of(&swapping, || load(0)), [(0, 8)], "nobody has gone on yet");
    // What is not waited for is a request of its own, and no fault waits for it.
    assert_eq!(reads_of(&swapping, || load(8)), [(8, 8), (16, 8)]);
    assert_eq!(reads_of(&swapping, || (16..24).for_each(load)), []);
    assert_eq!(reads_of(&swapping, || load(24)), [(24, 8), (32, 8)]);
    // Elsewhere it is not known that somebody goes on, nor where nothing that was read was used.
    assert_eq!(reads_of(&swapping, || load(70)), [(68, 4)]);
    assert_eq!(swapping.event(VmEvent::PgMajFault), 4);
    swapping.settle();
    swapping.check();
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn no_memory_is_made_room_for_what_nobody_waits_for() {
    let swapping = Swapping::new(16, 1, 28);
    let (world, (mm, at)) = (&swapping.world, in_swap(&swapping, 4 * WINDOW, 512));
    assert_eq!(world.load(mm, at), Ok(1));
    // Enough for the window, but not for all of the next.
    world.frames.set_credit(WINDOW as i64 + 3);
    let reads = reads_of(&swapping, || assert_eq!(world.load(mm, page(at, WINDOW)), Ok(WINDOW + 1)));
    world.frames.set_credit(i64::MAX);
    assert_eq!(reads, [(8, 8), (16, 3)]);
    assert_eq!(swapping.event(VmEvent::SwapRa), 7 + 7 + 3);
    (0..4 * WINDOW).for_each(|n| assert_eq!(world.load(mm, page(at, n)), Ok(n + 1)));
    swapping.check();
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn what_was_shared_is_copied_though_it_came_with_another() {
    let swapping = Swapping::new(16, 1, 25);
    let (world, (mm, at)) = (&swapping.world, in_swap(&swapping, 2 * WINDOW, 512));
    let child = world.vm.clone_mm(mm, &world.frames).unwrap();
    // Both map the same pages; the first to write gets another.
    let trapped = [mm, child].map(|it| {
        world.run(it);
        (0..WINDOW).filter(|&n| !is_mapped(world, it, at, n)).count() as u64
    });
    assert_eq!(trapped, [1, WINDOW], "pages that somebody uses are not read ahead any more");
    assert_eq!(swapping.event(VmEvent::PswpIn), WINDOW, "one read for both");
    (0..2 * WINDOW).for_each(|n| world.store(child, page(at, n), 50 + n).unwrap());
    swapping.check();
    world.run(mm);
    assert!((0..2 * WINDOW).all(|n| world.load(mm, page(at, n)) == Ok(n + 1)));
    world.end(child);
    world.run(mm);
    (0..2 * WINDOW).for_each(|n| world.store(mm, page(at, n), 70 + n).unwrap());
    swapping.check();
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}

#[test]
fn cpus_that_meet_in_a_window_lose_nothing() {
    const PAGES: u64 = 64;
    let swapping = Swapping::new(16, 3, 26);
    let (world, (mm, at)) = (&swapping.world, in_swap(&swapping, PAGES, 20));
    at_once(world, mm, 3, |id| {
        for round in rounds() {
            for n in 0..PAGES {
                match id {
                    0 => assert_eq!(world.load(mm, page(at, n)), Ok(n + 1)),
                    1 => assert_eq!(world.load(mm, page(at, PAGES - 1 - n)), Ok(PAGES - n)),
                    _ if n == round % PAGES => swapping.out(mm, at, PAGES),
                    _ => world.store(mm, page(at, n).checked_add(8).unwrap(), round).unwrap(),
                }
            }
        }
    });
    swapping.settle();
    swapping.check();
    assert!(swapping.event(VmEvent::SwapRaHit) > 0);
    world.run(mm);
    world.end(mm);
    assert_eq!(swapping.check(), 0);
}
