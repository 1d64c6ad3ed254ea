//! Migrate types: which list an allocation comes from when its own is empty, and what happens to the pageblock.

use crate::board::{Board, Plan, order, zone_id};
use mm::frame::MigrateType::{self, HighAtomic, Movable, Reclaimable, Unmovable};
use mm::frame::ZoneKind;
use mm::phys::GfpFlags;

const UNMOVABLE: GfpFlags = GfpFlags::GFP_KERNEL;
const MOVABLE: GfpFlags = GfpFlags::GFP_HIGHUSER_MOVABLE;
const RECLAIMABLE: GfpFlags = GfpFlags::GFP_KERNEL.union(GfpFlags::__GFP_RECLAIMABLE);

/// One zone of three 4 MiB blocks.
fn board() -> Board {
    Plan::pages(1024, 3 * 1024).boot()
}

/// Pageblocks of each type.
fn types(board: &Board) -> [u64; MigrateType::COUNT] {
    board.pageblock_counts(zone_id(0, ZoneKind::Dma))
}

fn free(board: &Board, n: u32, mt: MigrateType) -> u32 {
    board.zone(zone_id(0, ZoneKind::Dma)).unwrap().free_blocks(order(n), mt)
}

/// All memory starts out movable, and the first unmovable page claims a whole block of the largest order.
#[test]
fn the_first_unmovable_page_claims_a_block() {
    let board = board();
    assert_eq!(types(&board), [0, 6, 0, 0, 0]);
    let at = board.take(UNMOVABLE, 0).unwrap();
    assert_eq!(types(&board), [2, 4, 0, 0, 0]);
    assert_eq!(
        (free(&board, 10, Movable), free(&board, 9, Unmovable), free(&board, 0, Unmovable)),
        (2, 1, 1)
    );
    // The next one needs no claim.
    let next = board.take(UNMOVABLE, 0).unwrap();
    assert_eq!((next, types(&board)), (at + 1, [2, 4, 0, 0, 0]));
    board.verify().unwrap();
    // Merging back to the largest order keeps the type.
    board.give(at, 0).unwrap();
    board.give(next, 0).unwrap();
    assert_eq!((free(&board, 10, Movable), free(&board, 10, Unmovable)), (2, 1));
    board.verify().unwrap();
}

/// Every type has its own blocks while there are enough, so pages of different mobility do not mix.
#[test]
fn types_stay_apart() {
    let board = board();
    for gfp in [UNMOVABLE, RECLAIMABLE, MOVABLE] {
        for _ in 0..100 {
            board.take(gfp, 0).unwrap();
        }
    }
    assert_eq!(types(&board), [2, 2, 2, 0, 0]);
    board.verify().unwrap();
}

/// Movable pages take from reclaimable before unmovable blocks, and claim large ones.
#[test]
fn movable_prefers_reclaimable() {
    let board = board();
    let (unmovable, reclaimable) = (board.take(UNMOVABLE, 0).unwrap(), board.take(RECLAIMABLE, 0).unwrap());
    while free(&board, 10, Movable) > 0 {
        board.take(MOVABLE, 10).unwrap();
    }
    let at = board.take(MOVABLE, 0).unwrap();
    // The largest block of the reclaimable pageblocks became movable, the unmovable ones are untouched.
    assert_eq!(at & !1023, reclaimable & !1023);
    assert_eq!((board.type_of(at), board.type_of(unmovable)), (Movable, Unmovable));
    board.verify().unwrap();
}

/// A pageblock that is mostly free changes its type when a small page is taken from it.
#[test]
fn a_mostly_free_pageblock_is_claimed() {
    // A single pageblock, so that no block of the pageblock order is left.
    let board = Plan::pages(1024, 500).boot();
    let movable: Vec<_> = (0..100).map(|_| board.take(MOVABLE, 0).unwrap()).collect();
    let at = board.take(UNMOVABLE, 0).unwrap();
    assert_eq!(board.type_of(at), Unmovable);
    assert_eq!((0..9).map(|n| free(&board, n, Movable)).sum::<u32>(), 0);
    board.verify().unwrap();
    // Movable pages that are freed there join the lists of the new type.
    movable.into_iter().for_each(|page| board.give(page, 0).unwrap());
    assert_eq!((0..9).map(|n| free(&board, n, Movable)).sum::<u32>(), 0);
    board.verify().unwrap();
}

/// A pageblock that is mostly in use by movable pages keeps its type: an unmovable page is only stolen from it.
#[test]
fn a_mostly_used_pageblock_is_only_stolen_from() {
    let board = Plan::pages(1024, 512).boot();
    (0..400).for_each(|_| assert!(board.take(MOVABLE, 0).is_some()));
    let before = board.total_free_pages();
    let at = board.take(UNMOVABLE, 0).unwrap();
    assert_eq!((board.type_of(at), board.total_free_pages()), (Movable, before - 1));
    board.verify().unwrap();
    board.give(at, 0).unwrap();
    board.verify().unwrap();
}

/// The tail of an exact allocation goes back to the lists of its pageblock, not to those of the request.
#[test]
fn an_exact_tail_returns_to_its_pageblock() {
    let board = Plan::pages(1024, 512).boot();
    (0..400).for_each(|_| assert!(board.take(MOVABLE, 0).is_some()));
    let frames = board.alloc_pages_exact(UNMOVABLE, 3, &mut |_| {}).unwrap();
    assert_eq!(board.type_of(frames.pfn().get()), Movable);
    board.verify().unwrap();
    board.free_pages_exact(frames).unwrap();
    board.verify().unwrap();
}

/// Exactly half of the pageblock is enough for a claim, one page less is not.
#[test]
fn half_a_pageblock_is_enough() {
    for (used, expected) in [(256, Unmovable), (257, Movable)] {
        let board = Plan::pages(1024, 512).boot();
        (0..used).for_each(|_| assert!(board.take(MOVABLE, 0).is_some()));
        let at = board.take(UNMOVABLE, 0).unwrap();
        assert_eq!(board.type_of(at), expected, "{used}");
    }
}

/// A pageblock of the unmovable type that holds `movable` movable pages, with `left` pages free.
fn unmovable_pageblock(movable: u32, left: u64) -> Board {
    let board = Plan::pages(1024, 512).boot();
    (0..movable).for_each(|_| assert!(board.take(MOVABLE, 0).is_some()));
    while board.total_free_pages() > left {
        let at = board.take(UNMOVABLE, 0).unwrap();
        assert_eq!(board.type_of(at), Unmovable);
    }
    board
}

/// Movable pages count as compatible when movable claims a pageblock back.
#[test]
fn movable_claims_back_what_holds_movable_pages() {
    let board = unmovable_pageblock(200, 100);
    let at = board.take(MOVABLE, 5).unwrap();
    assert_eq!(board.type_of(at), Movable);
    board.verify().unwrap();
}

/// Movable does not claim for the sake of a block below order 4, even from a pageblock full of movable pages.
#[test]
fn movable_only_steals_below_order_four() {
    let board = unmovable_pageblock(256, 8);
    assert_eq!(free(&board, 3, Unmovable), 1);
    let at = board.take(MOVABLE, 0).unwrap();
    assert_eq!(board.type_of(at), Unmovable);
    assert_eq!((0..4).map(|n| free(&board, n, Movable)).sum::<u32>(), 0);
    board.verify().unwrap();
}

/// Two pageblocks of different type merge to one block of the type that was freed last, both of them.
#[test]
fn pageblocks_of_two_types_merge_to_one() {
    let board = Plan::pages(1024, 1024).boot();
    let unmovable = board.take(UNMOVABLE, 9).unwrap();
    let movable = board.take(MOVABLE, 0).unwrap();
    assert_eq!((board.type_of(unmovable), board.type_of(movable)), (Unmovable, Movable));
    board.give(movable, 0).unwrap();
    board.give(unmovable, 9).unwrap();
    assert_eq!(free(&board, 10, Unmovable), 1);
    assert_eq!((board.type_of(unmovable), board.type_of(movable)), (Unmovable, Unmovable));
    board.verify().unwrap();
}

/// Unmovable pages count as compatible with a reclaimable claim of a movable pageblock, movable ones do not.
#[test]
fn compatible_pages_help_a_claim() {
    let board = Plan::pages(1024, 512).boot();
    // Unmovable first: it claims the pageblock while it is free; then it becomes movable again by hand of movable.
    (0..200).for_each(|_| assert!(board.take(UNMOVABLE, 0).is_some()));
    let at = board.take(MOVABLE, 5).unwrap();
    // 312 of 512 frames are free: enough for movable to claim.
    assert_eq!(board.type_of(at), Movable);
    (0..100).for_each(|_| assert!(board.take(MOVABLE, 0).is_some()));
    // 180 free and 200 compatible frames: reclaimable claims.
    let at = board.take(RECLAIMABLE, 0).unwrap();
    assert_eq!(board.type_of(at), Reclaimable);
    // Unmovable cannot tell reclaimable pages from its own: 179 free frames are not enough.
    let at = board.take(UNMOVABLE, 0).unwrap();
    assert_eq!(board.type_of(at), Reclaimable);
    board.verify().unwrap();
}

/// Small movable requests do not claim small blocks of other types, they steal the smallest.
#[test]
fn movable_does_not_claim_small_blocks() {
    let board = Plan::pages(1024, 8).boot();
    let at = board.take(UNMOVABLE, 0).unwrap();
    assert_eq!(board.type_of(at), Unmovable);
    let stolen = board.take(MOVABLE, 0).unwrap();
    assert_eq!((stolen, board.type_of(stolen)), (at ^ 1, Unmovable));
    board.verify().unwrap();
}

/// Nothing is allocated from the lists that are held back.
#[test]
fn no_type_falls_back_to_reserves() {
    let board = board();
    assert_eq!(free(&board, 10, HighAtomic), 0);
    let mut pages = 0;
    while let Some(at) = board.take(UNMOVABLE, 10).or_else(|| board.take(RECLAIMABLE, 10)) {
        assert_ne!(board.type_of(at), HighAtomic);
        pages += 1024;
    }
    assert_eq!((pages, board.total_free_pages()), (3072, 0));
}
