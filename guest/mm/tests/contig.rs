//! Runs of frames beyond the largest block, blocks by address, and memory that never merges.

use crate::board::{Board, GIB, MIB, Plan, node, order, reserves, zone_id};
use mm::addr::Order;
use mm::frame::ZoneKind;
use mm::phys::{AllocError, FreeError, GfpFlags, PageChecks};
use mm::port::{Machine, PhysMem};
use std::ptr::NonNull;

const GIGANTIC: u64 = GIB >> 12;
const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL;

/// Free blocks of all populated zones, by order.
fn blocks(board: &Board) -> Vec<[u32; Order::COUNT]> {
    board.populated_zones().map(|zone| board.buddyinfo(zone.id())).collect()
}

#[test]
fn a_gigantic_page_is_aligned_and_comes_back_whole() {
    // All GiB but the first are whole: the first has a hole for the kernel.
    let board = Plan::ram(&[0..4 * GIB]).reserve(0..20 * MIB).boot();
    board.take_in_deferred(u32::MAX);
    let before = blocks(&board);
    let pages: Vec<_> = (0..3).map(|_| board.alloc_contig_pages(KERNEL, GIGANTIC, None).unwrap()).collect();
    for page in &pages {
        assert_eq!((page.pfn().get() % GIGANTIC, page.pages()), (0, GIGANTIC));
    }
    let mut starts: Vec<_> = pages.iter().map(|page| page.pfn().get() / GIGANTIC).collect();
    starts.sort_unstable();
    assert_eq!(starts, [1, 2, 3]);
    board.verify().unwrap();
    // The rest is nearly a GiB, but not in a row that starts at one.
    assert_eq!(board.alloc_contig_pages(KERNEL, GIGANTIC, None).err(), Some(AllocError::OutOfMemory));
    pages.into_iter().for_each(|page| board.free_pages_exact(page).unwrap());
    board.verify().unwrap();
    assert_eq!((blocks(&board), board.leaked_pages()), (before, 0));
}

#[test]
fn a_page_in_use_is_in_the_way() {
    let board = Plan::ram(&[0..3 * GIB]).reserve(0..20 * MIB).boot();
    board.take_in_deferred(u32::MAX);
    // Take everything in blocks of 4 MiB, and give all back but one in the middle of each GiB.
    let mut held = Vec::new();
    while let Some(at) = board.take(KERNEL, 10) {
        held.push(at);
    }
    let (kept, given): (Vec<_>, Vec<_>) = held.into_iter().partition(|at| at % GIGANTIC == GIGANTIC / 2);
    assert_eq!(kept.len(), 3);
    given.into_iter().for_each(|at| board.give(at, 10).unwrap());
    assert_eq!(board.alloc_contig_pages(KERNEL, GIGANTIC, None).err(), Some(AllocError::OutOfMemory));
    // Half of one lies between.
    let half = board.alloc_contig_pages(KERNEL, GIGANTIC / 2, None).unwrap();
    assert_eq!(half.pfn().get() % (GIGANTIC / 2), 0);
    board.free_pages_exact(half).unwrap();
    kept.into_iter().for_each(|at| board.give(at, 10).unwrap());
    let page = board.alloc_contig_pages(KERNEL, GIGANTIC, None).unwrap();
    board.free_pages_exact(page).unwrap();
    board.verify().unwrap();
}

#[test]
fn any_number_of_pages_is_taken_exactly() {
    let board = Plan::ram(&[0..64 * MIB]).reserve(0..4096).lists(reserves(512)).boot();
    let free = || board.total_free_pages() + board.cached_pages();
    board.take_in_deferred(u32::MAX);
    board.drain_all_pages();
    let (before, whole) = (blocks(&board), free());
    for pages in [1, 3, 1023, 1024, 1025, 1500, 3000, 4096] {
        let run = board.alloc_contig_pages(KERNEL | GfpFlags::__GFP_MOVABLE, pages, None).unwrap();
        assert_eq!((run.pages(), free()), (pages, whole - pages), "{pages}");
        board.verify().unwrap();
        board.free_pages_exact(run).unwrap();
        board.drain_all_pages();
        board.verify().unwrap();
        assert_eq!(blocks(&board), before, "{pages}");
    }
    assert_eq!(board.alloc_contig_pages(KERNEL, 0, None).err(), Some(AllocError::BadSize));
    assert_eq!(board.alloc_contig_pages(KERNEL, 8, Some(node(5))).err(), Some(AllocError::BadNode));
    let both = KERNEL | GfpFlags::__GFP_DMA | GfpFlags::__GFP_DMA32;
    assert_eq!(board.alloc_contig_pages(both, 8, None).err(), Some(AllocError::BadZoneModifiers));
    // Not below the low mark, and from the zone that the flags name.
    let all = board.zone(zone_id(0, ZoneKind::Dma32)).unwrap().free_pages();
    assert_eq!(board.alloc_contig_pages(KERNEL, all, None).err(), Some(AllocError::OutOfMemory));
    let low = board.alloc_contig_pages(GfpFlags::GFP_DMA, 2048, None).unwrap();
    assert!(low.pfn().get() + 2048 <= 4096);
    board.free_pages_exact(low).unwrap();
}

#[test]
fn checks_see_runs_too() {
    let mut plan = Plan::ram(&[0..32 * MIB]).reserve(0..4096);
    plan.ram = 32 * MIB;
    let board = plan.boot();
    board.enable_page_checks(PageChecks::POISON | PageChecks::OWNER);
    // SAFETY: the test runs alone.
    let filled = |at, value| unsafe { board.machine().physmem().is_filled(at, value) };
    let run = board.alloc_contig_pages(KERNEL | GfpFlags::__GFP_ZERO, 1500, None).unwrap();
    let first = run.pfn();
    assert!((0..1500).all(|n| filled(first.checked_add(n).unwrap(), 0)));
    assert!(filled(first.checked_add(1500).unwrap(), 0xaa), "what was not asked for is free");
    let owned = || {
        let mut pages = 0;
        board.page_owners(&mut |owner| pages += owner.order.pages());
        pages
    };
    assert!(owned() >= 1500);
    board.free_pages_exact(run).unwrap();
    assert!((0..1500).all(|n| filled(first.checked_add(n).unwrap(), 0xaa)));
    board.verify().unwrap();
}

#[test]
fn blocks_have_addresses() {
    let mut plan = Plan::ram(&[0..16 * MIB]).reserve(0..4096);
    plan.ram = 16 * MIB;
    let board = plan.boot();
    let free = board.total_free_pages();
    let at = board.get_free_pages(KERNEL, order(3)).unwrap();
    let physmem = board.machine().physmem();
    let addr = physmem.addr_of(at).unwrap();
    assert_eq!((addr.get() % (8 << 12), free - board.total_free_pages()), (0, 8));
    let page = board.get_zeroed_page(KERNEL).unwrap();
    // SAFETY: the page is ours.
    assert!((0..4096).all(|n| unsafe { page.as_ptr().add(n).read() } == 0));
    // SAFETY: both are ours; wrong ones are refused.
    unsafe {
        assert!(matches!(board.free_pages_at(at, order(2)), Err(FreeError::WrongOrder { .. })));
        let inside = at.add(4096);
        assert!(matches!(board.free_pages_at(inside, order(0)), Err(FreeError::NotOwned(_))));
        let crooked = at.add(8);
        assert_eq!(
            board.free_pages_at(crooked, order(3)),
            Err(FreeError::BadAddress(crooked.as_ptr().addr()))
        );
        let mut local = 0_u64;
        let foreign = NonNull::from(&mut local).cast::<u8>();
        assert!(matches!(board.free_pages_at(foreign, order(0)), Err(FreeError::BadAddress(_))));
        board.free_pages_at(at, order(3)).unwrap();
        assert!(matches!(board.free_pages_at(at, order(3)), Err(FreeError::DoubleFree(_))));
        board.free_pages_at(page, order(0)).unwrap();
    }
    assert_eq!(board.total_free_pages(), free);
    for refused in [GfpFlags::GFP_HIGHUSER, GfpFlags::GFP_HIGHUSER_MOVABLE] {
        assert_eq!(board.get_free_pages(refused, order(0)).err(), Some(AllocError::NoHighmem));
        assert_eq!(board.get_zeroed_page(refused).err(), Some(AllocError::NoHighmem));
    }
    assert_eq!(AllocError::NoHighmem.to_string(), "__GFP_HIGHMEM not allowed");
}

#[test]
fn without_merging_memory_stays_in_pieces() {
    let pages = |board: &Board, from: usize| -> u64 {
        let info = board.buddyinfo(zone_id(0, ZoneKind::Dma32));
        info.iter().enumerate().skip(from).map(|(order, blocks)| u64::from(*blocks) << order).sum()
    };
    for (merge, expected) in [(true, 8192), (false, 0)] {
        let mut plan = Plan::ram(&[16 * MIB..48 * MIB]);
        plan.merge = merge;
        let board = plan.boot();
        let mut held = Vec::new();
        while let Some(at) = board.take(KERNEL, 0) {
            held.push(at);
        }
        held.into_iter().for_each(|at| board.give(at, 0).unwrap());
        assert_eq!((pages(&board, 0), pages(&board, 9)), (8192, expected), "{merge}");
        board.verify().unwrap();
    }
}
