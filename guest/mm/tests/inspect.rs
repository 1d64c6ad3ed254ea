//! Looking at blocks: what is around a frame, and what a free would say.

use crate::board::{GIB, MIB, Plan, node, order, pfn};
use mm::frame::MigrateType;
use mm::phys::{AllocError, Folio, FolioState, FreeError, GfpFlags, Step};

/// Every frame of a block names the same head and order; its neighbours do not.
#[test]
fn every_frame_of_a_block_knows_its_head() {
    let board = Plan::ram(&[MIB..256 * MIB]).boot();
    let before = board.total_free_pages();
    let at = board.take(GfpFlags::GFP_KERNEL, 3).unwrap();
    for n in 0..8 {
        let folio = board.folio(pfn(at + n)).unwrap();
        let Folio { head, order: size, state, migrate_type, in_arena, zone } = folio;
        assert_eq!((head, size, state), (pfn(at), order(3), FolioState::Allocated));
        assert_eq!((migrate_type, in_arena, zone), (MigrateType::Unmovable, false, board.zone_of(at)));
    }
    let after = board.folio(pfn(at + 8)).unwrap();
    assert_eq!((after.head, after.state), (pfn(at + 8), FolioState::Free));
    board.give(at, 3).unwrap();
    let free = board.folio(pfn(at + 5)).unwrap();
    assert_eq!(free.state, FolioState::Free);
    assert!(free.order > order(3), "it merged");
    assert_eq!(board.total_free_pages(), before);
}

/// Frames that the allocator never had: reserved ones are blocks of their own, holes are nothing.
#[test]
fn reserved_frames_and_holes_are_told_apart() {
    let board = Plan::ram(&[MIB..64 * MIB]).reserve(2 * MIB..3 * MIB).boot();
    let reserved = board.folio(pfn(600)).unwrap();
    let expected = (pfn(600), order(0), FolioState::Reserved);
    assert_eq!((reserved.head, reserved.order, reserved.state), expected);
    let low = Plan::ram(&[0..64 * MIB]).boot();
    assert_eq!(low.folio(pfn(0)).unwrap().state, FolioState::Reserved, "frame 0 is never given out");
    assert_eq!(board.folio(pfn(0xdead000)), None);
    assert_eq!(board.folio(pfn(64 * MIB / 4096)), None);
}

/// The answer of `check_free` is that of the free it stands for, and it changes nothing.
#[test]
fn check_free_says_what_free_would_say() {
    let board = Plan::ram(&[MIB..64 * MIB]).reserve(2 * MIB..3 * MIB).boot();
    let at = board.take(GfpFlags::GFP_KERNEL, 2).unwrap();
    assert_eq!(board.check_free(pfn(at), order(2)), Ok(()));
    assert_eq!(board.check_free(pfn(at), order(2)), Ok(()), "still held");
    let wrong = FreeError::WrongOrder { pfn: pfn(at), allocated: order(2) };
    for (frame, size, expected) in [
        (at, 0, wrong),
        (at + 1, 0, FreeError::NotOwned(pfn(at + 1))),
        (600, 0, FreeError::NotOwned(pfn(600))),
        (0xdead000, 0, FreeError::BadPfn(pfn(0xdead000))),
    ] {
        assert_eq!(board.check_free(pfn(frame), order(size)), Err(expected));
        assert_eq!(board.give(frame, size), Err(expected));
    }
    board.give(at, 2).unwrap();
    assert_eq!(board.check_free(pfn(at), order(2)), Err(FreeError::DoubleFree(pfn(at))));
    assert_eq!(board.give(at, 2), Err(FreeError::DoubleFree(pfn(at))));
    board.verify().unwrap();
}

/// The traced allocation near a node splits on that node, and refuses a node that is not there.
#[test]
fn traced_allocation_near_a_node() {
    let board = Plan::ram(&[]).node_ram(0, 0..GIB).node_ram(1, 4 * GIB..5 * GIB).boot();
    let mut splits = 0;
    let mut trace = |step| splits += u32::from(matches!(step, Step::Split { .. }));
    let frames = board.alloc_pages_node_traced(node(1), GfpFlags::GFP_KERNEL, order(0), &mut trace).unwrap();
    assert_eq!(splits, 10, "a whole block was cut down");
    assert_eq!(board.pageblock(frames.pfn()).unwrap().zone().node, node(1));
    board.free_pages(frames).unwrap();
    let none = board.alloc_pages_node_traced(node(5), GfpFlags::GFP_KERNEL, order(0), &mut |_| {});
    assert!(matches!(none, Err(AllocError::BadNode)));
}
