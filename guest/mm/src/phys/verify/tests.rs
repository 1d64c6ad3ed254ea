//! Violations that cannot be made from outside: a wrong block on a list, a wrong counter.

extern crate std;

use super::{Broken, Rule};
use crate::addr::{Order, Pfn};
use crate::frame::{Frame, FrameIdx, FrameTable, MigrateType, Owner, Tables, ZoneId};
use crate::phys::buddy::{Buddy, Place};
use crate::phys::free_area::{FreeCounts, FreeLists};
use crate::phys::ground::Run;
use core::ptr::NonNull;
use std::vec::Vec;

const MT: MigrateType = MigrateType::Movable;
const BOUNDS: Run = Run { start: 1024, end: 2048 };

/// Builds an empty allocator over frames 1024..2048, lets `corrupt` put wrong things on it and verifies.
fn verdict(corrupt: impl FnOnce(&mut Buddy<'_>)) -> Result<(), Broken> {
    let mut frames: Vec<Frame> = (0..2048).map(|_| Frame::default()).collect();
    let mut words = [0_u16; 4];
    let tables = Tables {
        frames: NonNull::from(frames.as_mut_slice()).cast(),
        pageblocks: NonNull::from(&mut words).cast(),
        end: Pfn::from_u32(2048),
    };
    // SAFETY: both arrays are zeroed, large enough and not used otherwise while the table lives.
    let table = unsafe { FrameTable::new(&tables) }.ok_or((Rule::InZone, None))?;
    let (mut lists, counts) = (FreeLists::EMPTY, FreeCounts::new());
    let mut buddy =
        Buddy { lists: &mut lists, counts: &counts, table: &table, owner: Owner::Zone, top: Order::MAX };
    corrupt(&mut buddy);
    buddy.verify(BOUNDS, 0)
}

/// Frame `pfn` of the table.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn frame(buddy: &Buddy<'_>, pfn: u32) -> FrameIdx {
    buddy.table.take_in(pfn, ZoneId::default()).unwrap()
}

/// Puts a block on the list of its order and counts it.
fn put(buddy: &mut Buddy<'_>, pfn: u32, order: Order) {
    let idx = frame(buddy, pfn);
    buddy.put(idx, order, MT, Place::Front);
    buddy.counts.give_pages(order.pages());
}

fn broken(rule: Rule) -> impl Fn(Broken) -> bool {
    move |(found, _)| found == rule
}

/// Without corruption nothing is found.
#[test]
fn sound_lists_pass() {
    let verdict = verdict(|buddy| put(buddy, 1024, Order::MAX));
    assert_eq!(verdict, Ok(()));
}

/// A pair that starts at an odd frame.
#[test]
fn a_misaligned_block_is_found() {
    let pair = Order::ZERO.up().unwrap_or_default();
    assert!(verdict(|buddy| put(buddy, 1025, pair)).is_err_and(broken(Rule::Aligned)));
}

/// A block below the zone.
#[test]
fn a_block_outside_is_found() {
    assert!(verdict(|buddy| put(buddy, 1023, Order::ZERO)).is_err_and(broken(Rule::InZone)));
}

/// A counter that says one block more than the list has.
#[test]
fn a_wrong_count_is_found() {
    let verdict = verdict(|buddy| {
        put(buddy, 1024, Order::ZERO);
        buddy.counts.add_blocks(Order::ZERO, MT, 1);
    });
    assert!(verdict.is_err_and(broken(Rule::CountMatchesList)));
}

/// A free-page counter that is not the sum of all blocks.
#[test]
fn a_wrong_sum_is_found() {
    let verdict = verdict(|buddy| {
        put(buddy, 1024, Order::ZERO);
        buddy.counts.give_pages(1);
    });
    assert!(verdict.is_err_and(broken(Rule::SumMatchesFree)));
}
