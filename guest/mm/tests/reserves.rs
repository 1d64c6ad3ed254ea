//! Reserves of zones: who may go below which mark, and pageblocks held back for those who cannot wait.

use crate::board::{Board, MIB, Plan, order, reserves, zone_id};
use mm::frame::{MigrateType, ZoneKind};
use mm::phys::GfpFlags;

const KERNEL: GfpFlags = GfpFlags::GFP_KERNEL;
const ATOMIC: GfpFlags = GfpFlags::GFP_ATOMIC;

/// One zone of 256 MiB that keeps 4 MiB, a quarter of that between the marks.
fn board() -> Board {
    Plan::ram(&[16 * MIB..272 * MIB]).lists(reserves(4096)).boot()
}

fn free(board: &Board) -> u64 {
    board.drain_all_pages();
    board.total_free_pages()
}

/// Takes single pages as long as there are any, and returns how many are left.
fn exhaust(board: &Board, gfp: GfpFlags, held: &mut Vec<u64>) -> u64 {
    while let Some(page) = board.take(gfp, 0) {
        held.push(page);
    }
    free(board)
}

/// Ordinary allocations stop at the minimum; those with a right to a part of the reserve at their part of it.
#[test]
fn each_kind_of_allocation_stops_at_its_mark() {
    let board = board();
    let min = board.zone(zone_id(0, ZoneKind::Dma32)).unwrap().watermarks().min;
    assert_eq!(min, 1024);
    let mut held = Vec::new();
    // What is fetched at once may go below by less than a batch.
    let near = |left: u64, mark: u64| left <= mark + 64 && left + 64 > mark;
    let left = exhaust(&board, GfpFlags::GFP_NOWAIT | GfpFlags::__GFP_NOMEMALLOC, &mut held);
    assert!(near(left, min), "{left}");
    let left = exhaust(&board, KERNEL | GfpFlags::__GFP_HIGH, &mut held);
    assert!(near(left, min / 2), "{left}");
    let left = exhaust(&board, ATOMIC, &mut held);
    assert!(near(left, min / 2 - min / 8), "{left}");
    assert_eq!(
        exhaust(&board, KERNEL | GfpFlags::__GFP_MEMALLOC | GfpFlags::__GFP_NOMEMALLOC, &mut held),
        left
    );
    assert_eq!(exhaust(&board, KERNEL | GfpFlags::__GFP_MEMALLOC, &mut held), 0);
    assert_eq!(board.take(ATOMIC, 0), None);
    held.into_iter().for_each(|page| board.give(page, 0).unwrap());
    board.verify().unwrap();
}

/// Above order 0 there must also be a block that large.
#[test]
fn free_pages_in_small_pieces_do_not_help_large_requests() {
    let board = board();
    let pages: Vec<_> = std::iter::from_fn(|| board.take(KERNEL, 0)).collect();
    let (even, odd): (Vec<u64>, Vec<u64>) = pages.into_iter().partition(|page| page % 2 == 0);
    even.into_iter().for_each(|page| board.give(page, 0).unwrap());
    assert!(free(&board) > 20_000);
    let before: Vec<_> = std::iter::from_fn(|| board.take(KERNEL, 5)).collect();
    assert!(before.len() <= 32, "only what the reserve keeps whole: {}", before.len());
    assert!(board.take(KERNEL, 0).is_some());
    odd.into_iter().for_each(|page| board.give(page, 0).unwrap());
    before.into_iter().for_each(|block| board.give(block, 5).unwrap());
    board.verify().unwrap();
}

/// A large allocation that cannot wait, when memory is short, holds its pageblock back for the next; when nothing
/// else is left, the block is let go.
#[test]
fn pageblocks_are_held_back_for_those_who_cannot_wait() {
    let board = board();
    let count = |mt: MigrateType| board.pageblock_counts(zone_id(0, ZoneKind::Dma32))[mt.index()];
    let mut held: Vec<_> = std::iter::from_fn(|| board.take(KERNEL, 3)).collect();
    assert_eq!(count(MigrateType::HighAtomic), 0);
    let atomic = board.take(ATOMIC, 3).unwrap();
    assert_eq!((count(MigrateType::HighAtomic), board.type_of(atomic)), (1, MigrateType::HighAtomic));
    board.verify().unwrap();
    // At most 1 % of the zone is held back: two pageblocks of 128, as whole ones.
    let more: Vec<_> = std::iter::from_fn(|| board.take(ATOMIC, 3)).collect();
    assert!(count(MigrateType::HighAtomic) <= 2 && !more.is_empty());
    // Freed pages of such a block go to the zone, not to the CPU's lists.
    board.give(atomic, 3).unwrap();
    assert_eq!(
        board.folio(mm::addr::Pfn::new(atomic).unwrap()).unwrap().migrate_type,
        MigrateType::HighAtomic
    );
    more.into_iter().for_each(|block| board.give(block, 3).unwrap());
    assert!(board.take(KERNEL, 9).is_none());
    assert!(count(MigrateType::HighAtomic) <= 1, "a failing request lets one go");
    held.drain(..).for_each(|block| board.give(block, 3).unwrap());
    let all: Vec<_> = std::iter::from_fn(|| board.take(KERNEL, 0)).collect();
    all.into_iter().for_each(|page| board.give(page, 0).unwrap());
    board.drain_all_pages();
    board.verify().unwrap();
    assert!(board.take(KERNEL, order(9).get()).is_some());
}

/// A zone of 256 MiB whose marks rise when pageblocks mix, with single movable pages all over it.
fn mixed(factor: u64) -> (Board, Vec<u64>) {
    let reserves = mm::phys::ReserveConfig { watermark_boost_factor: factor, ..reserves(4096) };
    let board = Plan::ram(&[16 * MIB..272 * MIB]).lists(reserves).boot();
    let pages: Vec<_> = std::iter::from_fn(|| board.take(GfpFlags::GFP_HIGHUSER_MOVABLE, 0)).collect();
    // Three of four pages of each pageblock are free, in blocks of 2 pages at most.
    let (kept, freed): (Vec<u64>, Vec<u64>) = pages.into_iter().partition(|page| page % 4 == 0);
    freed.into_iter().for_each(|page| board.give(page, 0).unwrap());
    board.drain_all_pages();
    (board, kept)
}

/// A pageblock that gets pages of another type raises all marks by its size, as far as the setting allows (Linux
/// `boost_watermark`).
#[test]
fn mixing_raises_the_marks() {
    for factor in [0, 100, 15_000] {
        let (board, _kept) = mixed(factor);
        let zone = board.zone(zone_id(0, ZoneKind::Dma32)).unwrap();
        let before = zone.watermarks();
        assert_eq!(zone.watermark_boost(), 0);
        let most = if factor == 0 { 0 } else { (before.high * factor / 10_000).max(512) };
        let mut seen = vec![];
        for _ in 0..4000 {
            board.take(KERNEL, 0).unwrap();
            if seen.last() != Some(&zone.watermark_boost()) {
                seen.push(zone.watermark_boost());
            }
            let (boost, now) = (zone.watermark_boost(), zone.watermarks());
            let raised = [before.min, before.low, before.high, before.promo].map(|mark| mark + boost);
            assert_eq!([now.min, now.low, now.high, now.promo], raised);
        }
        let steps: Vec<_> = (0..).map(|n| (n * 512).min(most)).take(seen.len()).collect();
        assert_eq!((seen.last(), &seen), (Some(&most), &steps), "factor {factor}");
        // New settings end it.
        board.set_reserves(&reserves(4096));
        assert_eq!(zone.watermarks(), before);
        board.verify().unwrap();
    }
}

/// A boost keeps no page from anybody who would fail for it: it ends first. Urgent single pages do not see it.
#[test]
fn a_boost_makes_no_allocation_fail() {
    let (board, _kept) = mixed(15_000);
    let zone = board.zone(zone_id(0, ZoneKind::Dma32)).unwrap();
    let mut held = vec![];
    // Who wakes nobody gets no more than the boosted marks leave.
    let (min, nowait) = (zone.watermarks().min, GfpFlags::__GFP_NOWARN | GfpFlags::__GFP_NOMEMALLOC);
    let left = exhaust(&board, nowait, &mut held);
    let boost = zone.watermark_boost();
    assert!(boost > 0 && left > min + boost - 64, "{left} {min} {boost}");
    held.push(board.take(KERNEL | GfpFlags::__GFP_HIGH | GfpFlags::__GFP_NORETRY, 0).unwrap());
    assert!(zone.watermark_boost() >= boost);
    let left = exhaust(&board, KERNEL, &mut held);
    assert!(left <= min + 64 && left + 64 > min, "{left} {min}");
    assert_eq!(zone.watermark_boost(), 0);
    board.verify().unwrap();
}
