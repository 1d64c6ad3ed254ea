//! Pools of huge pages.

use crate::board::{Board, GIB, MIB, Plan, node, reserves};
use mm::hugetlb::{HugeCounts, HugePool};

fn two_nodes() -> Board {
    Plan::ram(&[0..64 * MIB]).node_ram(1, 64 * MIB..128 * MIB).reserve(0..4096).lists(reserves(512)).boot()
}

fn counts(total: u64, free: u64) -> HugeCounts {
    HugeCounts { total, free, ..HugeCounts::default() }
}

#[test]
fn a_pool_takes_from_all_nodes_in_turn_and_gives_all_back() {
    let board = two_nodes();
    let free = || board.total_free_pages() + board.cached_pages();
    let before = free();
    let pool = HugePool::new(&board, 512);
    assert_eq!(pool.resize(8), 8);
    let on = |n| pool.counts(Some(node(n)));
    assert_eq!((pool.counts(None), on(0), on(1)), (counts(8, 8), counts(4, 4), counts(4, 4)));
    assert_eq!(before - free(), 8 * 512);
    // Taken near, then from afar; aligned and apart.
    let taken: Vec<_> = (0..8).map(|_| pool.take(node(1)).unwrap()).collect();
    let mut pfns: Vec<_> = taken.iter().map(|page| page.pfn().get()).collect();
    assert!(pfns.iter().all(|pfn| pfn % 512 == 0));
    assert!(pfns[..4].iter().all(|pfn| *pfn >= 16384) && pfns[4..].iter().all(|pfn| *pfn < 16384));
    pfns.sort_unstable();
    pfns.dedup();
    assert_eq!((pfns.len(), pool.counts(None)), (8, counts(8, 0)));
    assert!(pool.take(node(0)).is_none());
    // What is taken stays, however small the pool shall be.
    assert_eq!(pool.resize(2), 8);
    taken.into_iter().for_each(|page| pool.give(page));
    assert_eq!((pool.resize(2), pool.counts(None)), (2, counts(2, 2)));
    assert_eq!((pool.resize(0), free(), board.leaked_pages()), (0, before, 0));
    board.verify().unwrap();
}

#[test]
fn a_pool_grows_as_far_as_there_is_memory_above_the_marks() {
    let board = two_nodes();
    let pool = HugePool::new(&board, 512);
    let got = pool.resize(100_000);
    assert!((50..64).contains(&got), "{got}");
    let zones: Vec<_> = board.populated_zones().collect();
    assert!(zones.iter().all(|zone| zone.free_pages() >= zone.watermarks().min));
    board.verify().unwrap();
    assert_eq!(pool.grow_on(node(1), 1), 0);
    pool.resize(0);
    assert_eq!((pool.grow_on(node(1), 3), pool.counts(Some(node(1)))), (3, counts(3, 3)));
    assert_eq!((pool.grow_on(node(7), 1), pool.resize(0)), (0, 0));
    board.verify().unwrap();
}

#[test]
fn gigantic_pages_come_from_runs_of_blocks() {
    let board = Plan::ram(&[0..3 * GIB]).reserve(0..20 * MIB).boot();
    let before = board.total_free_pages();
    let pool = HugePool::new(&board, GIB >> 12);
    assert_eq!((pool.resize(5), pool.frames()), (2, GIB >> 12));
    let page = pool.take(node(0)).unwrap();
    assert_eq!((page.pfn().get() % (GIB >> 12), pool.counts(None)), (0, counts(2, 1)));
    pool.give(page);
    assert_eq!((pool.resize(0), board.total_free_pages(), board.leaked_pages()), (0, before, 0));
    board.verify().unwrap();
}

#[test]
fn promises_are_kept_and_surplus_pages_go_again() {
    let board = two_nodes();
    let before = board.total_free_pages() + board.cached_pages();
    let pool = HugePool::new(&board, 512);
    assert_eq!(pool.resize(4), 4);
    assert!(pool.reserve(3) && !pool.reserve(2));
    let one = pool.take_free(node(0)).unwrap();
    // The others are promised.
    assert!(pool.take_free(node(0)).is_none());
    assert_eq!((pool.resize(0), pool.counts(None).reserved), (4, 3));
    let two = pool.take_reserved(node(0)).unwrap();
    let counts = pool.counts(None);
    assert_eq!((counts.total, counts.free, counts.reserved, counts.surplus), (4, 2, 2, 0));
    pool.set_overcommit(3);
    assert!(pool.reserve(2) && !pool.reserve(2) && pool.reserve(1));
    let counts = pool.counts(None);
    assert_eq!((counts.total, counts.free, counts.reserved, counts.surplus), (7, 5, 5, 3));
    pool.give_back(one);
    pool.give_back(two);
    let counts = pool.counts(None);
    assert_eq!((counts.total, counts.free, counts.reserved, counts.surplus), (5, 5, 5, 1));
    pool.unreserve(5);
    let counts = pool.counts(None);
    assert_eq!((counts.total, counts.free, counts.reserved, counts.surplus), (4, 4, 0, 0));
    assert_eq!((pool.resize(0), board.total_free_pages() + board.cached_pages()), (0, before));
    board.verify().unwrap();
}
