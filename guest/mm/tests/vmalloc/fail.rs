//! Every allocation fails once: nothing leaks and everything still works.

use super::*;
use mm::vmalloc::VmallocError;

/// Free frames of the board, and those that the source knows of: their sum never changes.
fn total(board: &Board, source: &Source<'_>) -> u64 {
    board.total_free_pages() + source.out() + source.tables_out()
}

fn sweep(work: impl Fn(&World<'_>) -> Result<VirtAddr, VmallocError>) -> i64 {
    for nth in 0.. {
        let board = board(32);
        let source = Source::new(&board);
        let areas = open(&board, &source, 1 << 20);
        let all = total(&board, &source);
        source.fail_after(nth);
        let result = work(&areas);
        source.fail_after(i64::MAX);
        assert_eq!(total(&board, &source), all, "allocation {nth} failed and something is lost");
        areas.verify().unwrap();
        match result {
            Err(error) => {
                assert_eq!(error, VmallocError::NoMemory);
                assert_eq!((areas.used_pages(), areas.lazy_pages()), (0, 0));
                assert_eq!(source.out(), areas.descriptor_frames());
                work(&areas).unwrap();
            }
            Ok(_) => return nth,
        }
    }
    unreachable!("one of all attempts succeeds")
}

#[test]
fn every_allocation_of_a_small_area_may_fail() {
    // Upper and lower tables, and five frames. The descriptors have one from boot.
    assert_eq!(sweep(|areas| areas.vmalloc(&small(5))), 5 + 2);
}

#[test]
fn every_allocation_of_a_large_area_may_fail_or_makes_its_leaves_smaller() {
    let nth = sweep(|areas| areas.vmalloc(&huge(512 + 2)));
    assert!(nth > 3, "{nth}");
}

#[test]
fn every_allocation_of_a_mapping_may_fail() {
    let frames = || [3, 4, 5].map(|n| Pfn::new(n).unwrap()).into_iter();
    assert_eq!(sweep(|areas| areas.vmap(frames(), PteBits::empty(), CALLER)), 2);
}

#[test]
fn freed_areas_are_flushed_before_memory_runs_out() {
    let board = board(16);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let area = areas.vmalloc(&small(50)).unwrap();
    let held = exhaust(&board);
    areas.vfree(area).unwrap();
    assert_eq!(board.total_free_pages(), 0, "their frames wait for the flush");
    let again = areas.vmalloc(&small(50)).unwrap();
    areas.vfree(again).unwrap();
    assert_eq!(areas.vmalloc(&small(51)), Err(VmallocError::NoMemory));
    assert_eq!(areas.used_pages(), 0);
    release(&board, held);
}

#[test]
fn descriptors_are_made_as_needed() {
    let board = board(32);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let made: Vec<_> = (0..500).map(|_| areas.vmalloc(&small(1)).unwrap()).collect();
    let frames = areas.descriptor_frames();
    assert!((10..=20).contains(&frames), "{frames}");
    made.into_iter().for_each(|area| areas.vfree(area).unwrap());
    areas.purge();
    let made: Vec<_> = (0..500).map(|_| areas.vmalloc(&small(1)).unwrap()).collect();
    assert_eq!(areas.descriptor_frames(), frames, "they are used again");
    made.into_iter().for_each(|area| areas.vfree(area).unwrap());
    areas.purge();
    assert_eq!(source.out(), frames);
    areas.verify().unwrap();
}
