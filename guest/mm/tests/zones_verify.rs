//! The checker itself: every kind of corruption is found and named.
//!
//! The words of a descriptor are state (kind 0..2, owner 2, order 4..8, type 8..11), next, prev.

use crate::board::{Board, Plan, order, pfn, zone_id};
use mm::frame::ZoneKind;
use mm::phys::{GfpFlags, Rule};

/// Word `n` of the descriptor of a frame.
fn word(board: &Board, at: u64, n: usize) -> *mut u32 {
    // SAFETY: the tables cover the frame, and a descriptor has eight words.
    unsafe { board.tables().frames.as_ptr().cast::<u32>().add(at as usize * 8 + n) }
}

fn set(board: &Board, at: u64, n: usize, value: u32) {
    // SAFETY: nobody else uses the board; the word is a plain number.
    unsafe { word(board, at, n).write(value) }
}

fn get(board: &Board, at: u64, n: usize) -> u32 {
    // SAFETY: as in `set`.
    unsafe { word(board, at, n).read() }
}

/// 32 frames with pages 1024+8 and 1024+9 in use: free are 1024 (order 3), 1034 (order 1), 1036 (2), 1040 (4).
fn board() -> Board {
    let board = Plan::pages(1024, 32).boot();
    let held: Vec<_> = (0..32).map(|_| board.take(GfpFlags::GFP_KERNEL, 0).unwrap()).collect();
    for at in held.into_iter().filter(|at| !(1032..1034).contains(at)) {
        board.give(at, 0).unwrap();
    }
    board.verify().unwrap();
    assert_eq!(board.buddyinfo(zone_id(0, ZoneKind::Dma))[..6], [0, 1, 1, 1, 1, 0]);
    board
}

fn found(board: &Board) -> (Rule, Option<u64>) {
    let violation = board.verify().unwrap_err();
    (violation.rule, violation.block.map(|(pfn, _)| pfn.get()))
}

/// A listed block whose state says something else.
#[test]
fn a_wrong_state_is_found() {
    let board = board();
    let state = get(&board, 1036, 0);
    for wrong in [0, state ^ 3, state ^ 4, state ^ 0x10, state ^ 0x100] {
        set(&board, 1036, 0, wrong);
        assert_eq!(found(&board), (Rule::StateMatchesList, Some(1036)), "{wrong:#x}");
    }
    set(&board, 1036, 0, state);
    board.verify().unwrap();
}

/// A link to a frame that does not point back, and one to itself.
#[test]
fn a_broken_link_is_found() {
    let board = board();
    set(&board, 1040, 2, 1036);
    assert_eq!(found(&board), (Rule::Linked, Some(1040)));
    set(&board, 1040, 2, 0);
    set(&board, 1040, 1, 1040);
    assert_eq!(found(&board), (Rule::Linked, Some(1040)));
}

/// A free head that is on no list.
#[test]
fn a_lost_block_is_found() {
    let board = board();
    let state = get(&board, 1034, 0) & !0xf0;
    set(&board, 1032, 0, state);
    assert_eq!(found(&board), (Rule::EveryFreeHeadListed, None));
}

/// A head in whose block another free block lies.
#[test]
fn an_overlap_is_found() {
    let board = board();
    // The allocated page 1032 claims to be a block of eight.
    set(&board, 1032, 0, get(&board, 1032, 0) | 0x30);
    assert_eq!(found(&board), (Rule::Disjoint, Some(1034)));
}

/// Two free buddies that were not merged: the first claims a smaller size, and its list agrees.
#[test]
fn unmerged_buddies_are_found() {
    let board = board();
    // The buddy of the pair 1034 is the pair 1032; it is made to look free.
    set(&board, 1032, 0, get(&board, 1034, 0));
    assert_eq!(found(&board), (Rule::Merged, Some(1034)));
}

/// A pageblock with the wrong type, and one with the wrong zone.
#[test]
fn a_wrong_pageblock_is_found() {
    let board = board();
    let words = board.tables().pageblocks.as_ptr();
    // SAFETY: the tables have a word for pageblock 2, and nobody else uses the board.
    let (read, write) = (|| unsafe { words.add(2).read() }, |value| unsafe { words.add(2).write(value) });
    let word = read();
    write(word ^ 1);
    assert_eq!(found(&board).0, Rule::TypeMatchesPageblock);
    write(word ^ 1 << 3);
    let violation = board.verify_zones().unwrap_err();
    assert_eq!((violation.rule, violation.block), (Rule::ZoneMatchesRange, Some((pfn(1024), order(9)))));
    assert_eq!(
        violation.to_string(),
        "node 0 zone DMA32: zone of the pageblock does not match its range, pfn=0x400 order=9"
    );
    write(word);
    assert_eq!(board.verify_zones(), Ok(2));
}
