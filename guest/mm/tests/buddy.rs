//! The buddy algorithm step by step: splitting, merging, exact sizes, refusals.

use crate::board::{Board, MIB, Plan, order, pfn};
use mm::addr::Order;
use mm::phys::{AllocError, Arena, ArenaBusy, Event, ExactFrames, FreeError, GfpFlags, Phys, Step};
use sim::Machine;

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL;

fn board() -> Board {
    Plan::ram(&[MIB..16 * MIB]).boot()
}

/// Free blocks of each order of an arena, as buddyinfo shows them.
fn line(arena: &Arena<'_, Machine>) -> String {
    Order::all().map(|order| arena.free_blocks(order).to_string()).collect::<Vec<_>>().join(" ")
}

/// Runs `work` with a trace and returns what it traced.
fn traced<R>(work: impl FnOnce(&mut dyn FnMut(Step)) -> R) -> (R, Vec<Step>) {
    let mut steps = Vec::new();
    let result = work(&mut |step| steps.push(step));
    (result, steps)
}

fn text(steps: &[Step]) -> String {
    steps.iter().map(Step::to_string).collect::<Vec<_>>().join(" ")
}

/// Allocating one page of a fresh 4 MiB block splits ten times, and freeing it merges ten times, to the same lists.
#[test]
fn one_page_splits_and_merges_all_the_way() {
    let board = board();
    let arena = board.arena(KERNEL, Order::MAX).unwrap();
    assert_eq!(line(&arena), "0 0 0 0 0 0 0 0 0 0 1");
    let (page, steps) = traced(|mut trace| arena.alloc(order(0), &mut trace).unwrap());
    let splits =
        "split 10->9 split 9->8 split 8->7 split 7->6 split 6->5 split 5->4 split 4->3 split 3->2 split 2->1";
    assert_eq!(text(&steps), format!("{splits} split 1->0"));
    assert_eq!(line(&arena), "1 1 1 1 1 1 1 1 1 1 0");
    let (freed, steps) = traced(|mut trace| arena.free(page, &mut trace));
    freed.unwrap();
    let merges =
        "merge 0->1 merge 1->2 merge 2->3 merge 3->4 merge 4->5 merge 5->6 merge 6->7 merge 7->8 merge 8->9";
    assert_eq!(text(&steps), format!("{merges} merge 9->10"));
    assert_eq!(line(&arena), "0 0 0 0 0 0 0 0 0 0 1");
    arena.dissolve().unwrap();
}

/// A block in the notation of the example: `order@P+offset`.
fn at(base: u64, pfn: mm::addr::Pfn) -> String {
    match pfn.get() - base {
        0 => "P".into(),
        offset => format!("P+{offset}"),
    }
}

/// The line that `buddy example PAGES` prints, from what the allocator reports.
fn example_line(base: u64, pages: u64, steps: &[Step]) -> String {
    let top = Order::covering(pages).unwrap();
    let (mut splits, mut kept, mut returned) = (Vec::new(), Vec::new(), Vec::new());
    let mut granted = 0;
    for step in steps {
        match *step {
            Step::Split { pfn, order } => {
                let half = order.down().unwrap();
                let upper = at(base, pfn.checked_add(half.pages()).unwrap());
                let name = if order == top { "order" } else { "" };
                let lower = at(base, pfn);
                splits.push(format!(
                    "{name}{}@{lower} split: {h}@{lower} {h}@{upper}",
                    order.get(),
                    h = half.get()
                ));
            }
            Step::Keep { pfn, order } => {
                granted += order.pages();
                kept.push(format!("{}@{}", order.pages(), at(base, pfn)));
            }
            Step::Return { pfn, order } => returned.push(format!("{}@{}", order.pages(), at(base, pfn))),
            Step::Merge { .. } => {}
        }
    }
    format!(
        "{}; allocated {}; returned {}; wasted={}",
        splits.join("; "),
        kept.join(" "),
        returned.join(" "),
        granted - pages
    )
}

fn exact_three<'a>(arena: &'a Arena<'_, Machine>) -> (ExactFrames<'a>, String) {
    let (frames, steps) = traced(|mut trace| arena.alloc_exact(3, &mut trace).unwrap());
    let base = frames.pfn().get();
    (frames, example_line(base, 3, &steps))
}

/// The book's example: three pages come from a block of four as 2+1, and the odd page goes back.
#[test]
fn three_pages_are_two_plus_one() {
    let board = board();
    let arena = board.arena(KERNEL, Order::MAX).unwrap();
    let (mut frames, text) = exact_three(&arena);
    assert_eq!(
        text,
        "order2@P split: 1@P 1@P+2; 1@P+2 split: 0@P+2 0@P+3; allocated 2@P 1@P+2; returned 1@P+3; wasted=0"
    );
    assert_eq!(arena.free_pages(), 1021);
    arena.verify().unwrap();
    assert_eq!(arena.alloc_exact(0, &mut |_| {}).err(), Some(AllocError::BadSize));
    while let Some(block) = frames.take_block() {
        arena.free(block, &mut |_| {}).unwrap();
    }
    drop(frames);
    arena.dissolve().unwrap();
}

/// The blocks that end up free in `P..P+4`, as the example names them.
fn merged(arena: &Arena<'_, Machine>, base: u64, steps: &[Step]) -> String {
    // Merging beyond the block of four is not part of the example.
    let limit = |step: &Step| matches!(step, Step::Merge { order, .. } if order.get() < 2);
    assert!(steps.iter().all(|step| matches!(step, Step::Merge { .. })));
    match steps.iter().filter(|step| limit(step)).count() {
        2 => format!("merged: order2@{}", at(base, pfn(base))),
        0 => "merged: order1@P, order0@P+2".to_string(),
        n => panic!("{n} merges, lists {}", line(arena)),
    }
}

/// Freeing the two blocks of the example in either order makes the block of four again, because the odd page is
/// free; while somebody holds the odd page it does not.
#[test]
fn freeing_two_and_one_makes_four_only_if_the_odd_page_is_free() {
    let board = board();
    for (two_first, hold_tail, expected) in [
        (true, false, "merged: order2@P"),
        (false, false, "merged: order2@P"),
        (true, true, "merged: order1@P, order0@P+2"),
        (false, true, "merged: order1@P, order0@P+2"),
    ] {
        let arena = board.arena(KERNEL, Order::MAX).unwrap();
        let (mut frames, _) = exact_three(&arena);
        let base = frames.pfn().get();
        let tail = hold_tail.then(|| arena.alloc(order(0), &mut |_| {}).unwrap());
        assert_eq!(tail.as_ref().map(|tail| tail.pfn().get()), hold_tail.then_some(base + 3));
        let (two, one) = (frames.take_block().unwrap(), frames.take_block().unwrap());
        assert_eq!((two.order().get(), one.order().get(), frames.take_block().is_none()), (1, 0, true));
        drop(frames);
        let (_, steps) = traced(|mut trace| {
            let (first, second) = if two_first { (two, one) } else { (one, two) };
            arena.free(first, &mut trace).unwrap();
            arena.free(second, &mut trace).unwrap();
        });
        assert_eq!(merged(&arena, base, &steps), expected);
        for tail in tail.into_iter() {
            // Page P+2, pair P, and the upper halves above the block of four.
            assert_eq!(line(&arena), "1 1 1 1 1 1 1 1 1 1 0");
            arena.free(tail, &mut |_| {}).unwrap();
        }
        arena.dissolve().unwrap();
    }
}

/// An exact allocation of n pages takes n pages, in blocks that are the binary digits of n.
#[test]
fn exact_sizes_waste_nothing() {
    let board = board();
    let before = board.total_free_pages();
    for pages in 1..=1024 {
        let mut frames = board.alloc_pages_exact(KERNEL, pages, &mut |_| {}).unwrap();
        assert_eq!(board.total_free_pages(), before - pages);
        let (mut next, mut digits) = (frames.pfn().get(), 0);
        while let Some(block) = frames.take_block() {
            assert_eq!(block.pfn().get(), next);
            next += block.order().pages();
            digits += block.order().pages();
            board.free_pages(block).unwrap();
        }
        assert_eq!(digits, pages);
        if pages % 50 == 3 {
            board.verify().unwrap();
        }
    }
    assert_eq!(board.total_free_pages(), before);
    assert_eq!(board.alloc_pages_exact(KERNEL, 1025, &mut |_| {}).err(), Some(AllocError::BadSize));
    let frames = board.alloc_pages_exact(KERNEL, 37, &mut |_| {}).unwrap();
    board.free_pages_exact(frames).unwrap();
    assert_eq!((board.total_free_pages(), board.leaked_pages()), (before, 0));
    board.verify().unwrap();
}

/// The block freed last is allocated first: its cache lines are warm.
#[test]
fn lists_are_lifo() {
    let board = board();
    let arena = board.arena(KERNEL, Order::MAX).unwrap();
    let mut pages: Vec<_> = (0..8).map(|_| arena.alloc(order(0), &mut |_| {}).unwrap()).collect();
    // Every other page, so that nothing merges; the buddies' parents are not free either.
    let (first, second) = (pages.remove(0), pages.remove(1));
    let second_pfn = second.pfn();
    arena.free(first, &mut |_| {}).unwrap();
    arena.free(second, &mut |_| {}).unwrap();
    let again = arena.alloc(order(0), &mut |_| {}).unwrap();
    assert_eq!(again.pfn(), second_pfn);
    for page in pages.into_iter().chain([again]) {
        arena.free(page, &mut |_| {}).unwrap();
    }
    arena.dissolve().unwrap();
}

/// A block whose parent's buddy is free goes to the end of its list: it will merge twice once its buddy is freed.
#[test]
fn a_block_that_is_likely_to_merge_goes_last() {
    let board = board();
    let arena = board.arena(KERNEL, order(4)).unwrap();
    let base = arena.pfn().get();
    let mut pages: Vec<_> = (0..16).map(|_| arena.alloc(order(0), &mut |_| {}).unwrap()).collect();
    pages.sort_by_key(|page| page.pfn());
    let mut pages: Vec<_> = pages.into_iter().map(Some).collect();
    let mut free = |n: usize| arena.free(pages[n].take().unwrap(), &mut |_| {}).unwrap();
    // 2+3 become a free pair, so page 0 is likely to merge twice; page 8 is not.
    free(2);
    free(3);
    free(8);
    free(0);
    let next = || arena.alloc(order(0), &mut |_| {}).unwrap().into_raw().0.get() - base;
    assert_eq!((next(), next(), next()), (8, 0, 2));
}

/// A second free is refused with Linux's text, also when the page has long been merged into a larger block.
#[test]
fn double_free_is_refused() {
    let board = board();
    let at = board.take(KERNEL, 0).unwrap();
    board.give(at, 0).unwrap();
    let free = board.total_free_pages();
    let error = board.give(at, 0).unwrap_err();
    assert_eq!(error, FreeError::DoubleFree(pfn(at)));
    assert_eq!(error.to_string(), format!("Bad page state pfn={at:#x} (double free)"));
    assert_eq!(board.give(at + 1, 0), Err(FreeError::DoubleFree(pfn(at + 1))));
    assert_eq!(board.total_free_pages(), free);
    board.verify().unwrap();
}

/// Freeing what was never handed out, with another order, or in the middle of a block is refused.
#[test]
fn misuse_is_refused() {
    let board = board();
    let at = board.take(KERNEL, 3).unwrap();
    let free = board.total_free_pages();
    let error = board.give(at, 2).unwrap_err();
    assert_eq!(error, FreeError::WrongOrder { pfn: pfn(at), allocated: order(3) });
    assert_eq!(error.to_string(), format!("Bad page state pfn={at:#x} (allocated with order 3)"));
    assert_eq!(board.give(at + 4, 0).unwrap_err(), FreeError::NotOwned(pfn(at + 4)));
    // Below the first megabyte there is no RAM, but the 4 MiB block around it was taken in.
    assert_eq!(board.give(1, 0).unwrap_err(), FreeError::NotOwned(pfn(1)));
    assert_eq!(board.give(0, 0).unwrap_err(), FreeError::BadPfn(pfn(0)));
    let error = board.give(0xdead, 0).unwrap_err();
    assert_eq!((error, error.to_string().as_str()), (FreeError::BadPfn(pfn(0xdead)), "bad pfn 0xdead"));
    assert_eq!(board.total_free_pages(), free);
    board.give(at, 3).unwrap();
    board.verify().unwrap();
}

/// An arena refuses the zone's frames and the zone an arena's, and dissolving needs all frames back.
#[test]
fn arenas_and_zones_do_not_mix() {
    let board = board();
    let free = board.total_free_pages();
    let outside = board.alloc_pages(KERNEL, order(0)).unwrap();
    let outside_pfn = outside.pfn();
    let arena = board.arena(KERNEL, order(5)).unwrap();
    assert_eq!(arena.free(outside, &mut |_| {}), Err(FreeError::NotOwned(outside_pfn)));
    board.give(outside_pfn.get(), 0).unwrap();
    let (inside, _) = arena.alloc(order(0), &mut |_| {}).unwrap().into_raw();
    assert_eq!(board.give(inside.get(), 0), Err(FreeError::NotOwned(inside)));
    assert_eq!(board.give(arena.pfn().get(), 5), Err(FreeError::NotOwned(arena.pfn())));
    board.verify().unwrap();
    arena.verify().unwrap();
    assert_eq!(arena.dissolve(), Err(ArenaBusy { pages: 1 }));
    assert_eq!((board.leaked_pages(), board.total_free_pages()), (32, free - 32));
}

/// Free blocks of two arenas that are buddies do not merge.
#[test]
fn neighbouring_arenas_do_not_merge() {
    let board = Plan::pages(1024, 16).boot();
    let (a, b) = (board.arena(KERNEL, order(3)).unwrap(), board.arena(KERNEL, order(3)).unwrap());
    assert_eq!(a.pfn().get() ^ 8, b.pfn().get());
    for arena in [&a, &b] {
        let page = arena.alloc(order(0), &mut |_| {}).unwrap();
        arena.free(page, &mut |_| {}).unwrap();
        arena.verify().unwrap();
        assert_eq!((arena.free_pages(), arena.free_blocks(order(3))), (8, 1));
    }
    // Nor does one take back what the other gave out.
    let page = b.alloc(order(0), &mut |_| {}).unwrap();
    let at = page.pfn();
    assert_eq!(a.free(page, &mut |_| {}), Err(FreeError::NotOwned(at)));
    // SAFETY: the refused page is still ours.
    b.free(unsafe { b.frames_from_raw(at, order(0)) }, &mut |_| {}).unwrap();
    a.dissolve().unwrap();
    b.dissolve().unwrap();
    assert_eq!(board.total_free_pages(), 16);
    board.verify().unwrap();
}

/// The last page can be had, the one after it cannot, and everything comes back.
#[test]
fn memory_runs_out_and_returns() {
    let board = Plan::pages(1024, 1500).boot();
    let mut pages = Vec::new();
    while let Some(at) = board.take(KERNEL, 0) {
        pages.push(at);
    }
    assert_eq!((pages.len(), board.total_free_pages()), (1500, 0));
    assert_eq!(board.alloc_pages(KERNEL, order(0)).err(), Some(AllocError::OutOfMemory));
    board.verify().unwrap();
    for at in pages {
        board.give(at, 0).unwrap();
    }
    assert_eq!(board.total_free_pages(), 1500);
    board.verify().unwrap();
}

/// Before boot nothing is allocated, freed or shown, and nothing crashes.
#[test]
fn before_boot_everything_is_refused() {
    let phys = Phys::new(Machine::with_ram(4096));
    assert_eq!(phys.alloc_pages(KERNEL, order(0)).err(), Some(AllocError::NotBooted));
    // SAFETY: no block starts there.
    let frames = unsafe { phys.frames_from_raw(pfn(5), order(0)) };
    assert_eq!(phys.free_pages(frames), Err(FreeError::BadPfn(pfn(5))));
    assert_eq!((phys.nodes().count(), phys.total_free_pages(), phys.take_in_deferred(9)), (0, 0, 0));
    assert_eq!((phys.verify(), phys.verify_zones()), (Ok(()), Ok(0)));
}

/// A dropped handle is counted, and its frames stay allocated.
#[test]
fn a_dropped_handle_is_a_counted_leak() {
    let board = board();
    let free = board.total_free_pages();
    drop(board.alloc_pages(KERNEL, order(2)).unwrap());
    drop(board.alloc_pages_exact(KERNEL, 3, &mut |_| {}).unwrap());
    assert_eq!((board.leaked_pages(), board.total_free_pages()), (7, free - 7));
    board.verify().unwrap();
}

/// `__GFP_ZERO` zeroes the whole block, and nothing else is written.
#[test]
fn zeroed_pages_are_zero() {
    let mut plan = Plan::ram(&[MIB..5 * MIB]);
    plan.ram = 5 * MIB;
    let board = plan.boot();
    let plain = board.take(KERNEL, 1).unwrap();
    let zeroed = board.take(KERNEL | GfpFlags::__GFP_ZERO, 1).unwrap();
    let ram = mm::port::Machine::physmem(board.machine());
    // SAFETY: both blocks are ours.
    let filled = |at, byte| unsafe { ram.is_filled(pfn(at), byte) && ram.is_filled(pfn(at + 1), byte) };
    assert!(filled(plain, 0x5a) && filled(zeroed, 0));
}

/// A 3-page request is granted 4 pages, and the counters say how much was wasted.
#[test]
fn internal_fragmentation_is_counted() {
    let board = board();
    let block = board.alloc_pages_for(KERNEL, 3).unwrap();
    assert_eq!(block.order(), order(2));
    board.free_pages(block).unwrap();
    let stat = board.fragmentation(order(2));
    assert_eq!((stat.requested, stat.granted, stat.wasted_bytes()), (3, 4, 4096));
    for pages in 5..=8 {
        let block = board.alloc_pages_for(KERNEL, pages).unwrap();
        board.free_pages(block).unwrap();
    }
    let stat = board.fragmentation(order(3));
    assert_eq!((stat.requested, stat.granted), (5 + 6 + 7 + 8, 32));
    assert_eq!(board.fragmentation(order(0)).granted, 0);
    assert_eq!(board.alloc_pages_for(KERNEL, 0).err(), Some(AllocError::BadSize));
    assert_eq!(board.alloc_pages_for(KERNEL, 1025).err(), Some(AllocError::BadSize));
}

/// The counters of pages handed out and taken back differ by the pages that are held.
#[test]
fn traffic_counters_balance() {
    let board = board();
    let held = board.take(KERNEL, 4).unwrap();
    let exact = board.alloc_pages_exact(KERNEL, 5, &mut |_| {}).unwrap();
    let traffic = |board: &Board| {
        board.populated_zones().fold((0, 0), |(allocated, freed), zone| {
            (allocated + board.events(zone, Event::PgAlloc), freed + board.events(zone, Event::PgFree))
        })
    };
    assert_eq!(traffic(&board), (16 + 8, 3));
    board.free_pages_exact(exact).unwrap();
    board.give(held, 4).unwrap();
    assert_eq!(traffic(&board), (24, 24));
}
