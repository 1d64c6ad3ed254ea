//! Mempools: nothing fails while the reserve holds, and what is freed refills it first.

use crate::board::{Board, MIB, Plan};
use crate::map_fixture::Rng;
use mm::addr::Pfn;
use mm::mempool::{Freed, Mempool, NotFilled};
use mm::phys::GfpFlags;
use mm::port::{CpuId, Machine as _};
use std::cell::RefCell;
use std::sync::Mutex;

type Pages = Mempool<Pfn, 8>;

fn board() -> Board {
    Plan { cpus: 4, ..Plan::ram(&[MIB..8 * MIB]) }.boot()
}

fn take(board: &Board) -> Option<Pfn> {
    board.take(GfpFlags::GFP_KERNEL, 0).and_then(Pfn::new)
}

fn give(board: &Board, page: Pfn) {
    board.give(page.get(), 0).unwrap();
}

fn resize(board: &Board, pool: &Pages, min: usize) -> Result<(), NotFilled> {
    pool.resize(board.machine().cpu(), min, || take(board), |page| give(board, page))
}

fn alloc(board: &Board, pool: &Pages) -> Option<Pfn> {
    pool.alloc(board.machine().cpu(), || take(board))
}

fn free(board: &Board, pool: &Pages, page: Pfn) -> Freed {
    pool.free(board.machine().cpu(), page, |page| give(board, page))
}

/// Takes every free page.
fn exhaust(board: &Board) -> Vec<Pfn> {
    std::iter::from_fn(|| take(board)).collect()
}

#[test]
fn the_reserve_serves_when_memory_is_out_and_comes_back() {
    let board = board();
    let (cpu, pool, free_pages) = (board.machine().cpu(), Pages::new(), board.total_free_pages());
    resize(&board, &pool, 4).unwrap();
    assert_eq!((pool.reserve(cpu), pool.min(cpu)), (4, 4));
    let fresh = alloc(&board, &pool).unwrap();
    assert_eq!(pool.reserve(cpu), 4, "the allocator is asked first");
    let held = exhaust(&board);
    let last: Vec<_> = (0..4).map(|_| alloc(&board, &pool).unwrap()).collect();
    assert_eq!(alloc(&board, &pool), None, "all that were set aside are out");
    assert_eq!(free(&board, &pool, fresh), Freed::Kept, "whoever waits may go on");
    assert_eq!(alloc(&board, &pool), Some(fresh));
    for page in last.into_iter().chain([fresh]) {
        let full = pool.reserve(cpu) == 4;
        assert_eq!(free(&board, &pool, page), if full { Freed::Released } else { Freed::Kept });
    }
    held.into_iter().for_each(|page| give(&board, page));
    resize(&board, &pool, 0).unwrap();
    assert_eq!(board.total_free_pages(), free_pages);
}

#[test]
fn a_reserve_that_cannot_be_filled_is_refused_and_nothing_is_lost() {
    let board = board();
    let (cpu, pool) = (board.machine().cpu(), Pages::new());
    assert_eq!(resize(&board, &pool, 9), Err(NotFilled), "more than fit");
    resize(&board, &pool, 2).unwrap();
    let mut held = exhaust(&board);
    held.drain(..3).for_each(|page| give(&board, page));
    assert_eq!(resize(&board, &pool, 8), Err(NotFilled));
    assert_eq!((pool.reserve(cpu), pool.min(cpu), board.total_free_pages()), (2, 2, 3));
    resize(&board, &pool, 5).unwrap();
    assert_eq!((pool.reserve(cpu), board.total_free_pages()), (5, 0));
    resize(&board, &pool, 1).unwrap();
    assert_eq!((pool.reserve(cpu), board.total_free_pages()), (1, 4));
    held.into_iter().for_each(|page| give(&board, page));
}

#[test]
fn objects_of_any_kind_are_reserved() {
    let board = board();
    let cpu = board.machine().cpu();
    let made = RefCell::new(0);
    let pool: Mempool<Box<u32>, 4> = Mempool::new();
    let make = || {
        *made.borrow_mut() += 1;
        (*made.borrow() <= 3).then(|| Box::new(*made.borrow()))
    };
    pool.resize(cpu, 3, make, drop).unwrap();
    let objects: Vec<_> = (0..3).map(|_| pool.alloc(cpu, make).unwrap()).collect();
    assert!(pool.alloc(cpu, make).is_none());
    objects.into_iter().for_each(|object| assert_eq!(pool.free(cpu, object, drop), Freed::Kept));
    assert_eq!(pool.free(cpu, Box::new(9), drop), Freed::Released);
}

/// Work that needs two pages at a time and frees them always gets on, on all CPUs, with a reserve of eight.
#[test]
fn whoever_frees_what_he_takes_always_gets_on() {
    let board = board();
    let pool = Pages::new();
    resize(&board, &pool, 8).unwrap();
    let held = exhaust(&board);
    let owners = Mutex::new(std::collections::HashSet::new());
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let (board, pool, owners) = (&board, &pool, &owners);
            scope.spawn(move || {
                board.machine().cpu().run_on(CpuId(cpu), || {
                    let mut rng = Rng(u64::from(cpu));
                    for _ in 0..2000 {
                        let pages: Vec<_> =
                            (0..1 + rng.next() % 2).map(|_| alloc(board, pool).unwrap()).collect();
                        for page in &pages {
                            assert!(owners.lock().unwrap().insert(*page), "{page:?} has two owners");
                        }
                        for page in pages {
                            assert!(owners.lock().unwrap().remove(&page));
                            assert_eq!(free(board, pool, page), Freed::Kept);
                        }
                    }
                });
            });
        }
    });
    assert_eq!(pool.reserve(board.machine().cpu()), 8);
    held.into_iter().for_each(|page| give(&board, page));
}
