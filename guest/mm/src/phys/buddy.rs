//! The buddy algorithm: splitting, merging and trimming blocks of 2^order frames.
//!
//! Owns: the only code that changes the state of frames. Stays outside: the lock, the choice of zone, and taking
//! from other migrate types (`fallback`). Invariants: every free frame is in exactly one block on exactly one
//! list; no two buddies that may merge are both free; only heads are written, so the descriptors inside a block
//! stay untouched. Source: Linux `mm/page_alloc.c` (`rmqueue_smallest`, `expand`, `__free_one_page`); Knuth,
//! TAOCP vol. 1, 2.5.

use super::free_area::{FreeCounts, FreeLists};
use super::step::Step;
use crate::addr::Order;
use crate::frame::{FrameIdx, FrameTable, Kind, MigrateType, Owner, Refused, State};
use crate::mutant::planted;

/// The free lists of one owner, under their lock.
pub(super) struct Buddy<'a> {
    pub(super) lists: &'a mut FreeLists,
    pub(super) counts: &'a FreeCounts,
    pub(super) table: &'a FrameTable,
    pub(super) owner: Owner,
    /// The largest order of this owner: blocks never merge beyond it.
    pub(super) top: Order,
}

impl Buddy<'_> {
    /// Makes `idx` the head of a free block on a list, without counting it.
    #[inline(always)]
    pub(super) fn link(&mut self, idx: FrameIdx, order: Order, mt: MigrateType, place: Place) {
        self.table.frame(idx).set_state(State::free(order, mt, self.owner));
        match place {
            Place::Front => self.lists.push_front(self.table, idx, order, mt),
            Place::Back => self.lists.push_back(self.table, idx, order, mt),
        }
    }

    /// Makes `idx` the head of a free block on a list.
    #[inline(always)]
    pub(super) fn put(&mut self, idx: FrameIdx, order: Order, mt: MigrateType, place: Place) {
        self.link(idx, order, mt, place);
        self.counts.add_blocks(order, mt, 1);
    }

    /// Takes a free block off its list. The caller gives the frame its next state.
    #[inline(always)]
    pub(super) fn unlink(&mut self, idx: FrameIdx, order: Order, mt: MigrateType) {
        self.lists.remove(self.table, idx, order, mt);
        if !planted("buddy.count_drifts") {
            self.counts.sub_block(order, mt);
        }
    }

    /// The smallest free block of type `mt` that holds `order`.
    #[inline(always)]
    pub(super) fn smallest(&self, order: Order, mt: MigrateType) -> Option<(Order, FrameIdx)> {
        let found = self.lists.smallest(order, mt)?;
        Some((found, self.lists.list(found, mt).first()?))
    }

    /// Allocates from the smallest block of type `mt` that holds `order` (Linux `__rmqueue_smallest`).
    #[inline(always)]
    pub(super) fn take_smallest(
        &mut self,
        order: Order,
        mt: MigrateType,
        trace: &mut impl FnMut(Step),
    ) -> Option<FrameIdx> {
        let (found, idx) = self.smallest(order, mt)?;
        self.unlink(idx, found, mt);
        self.expand(idx, found, order, mt, trace);
        Some(self.hold(idx, order, mt))
    }

    /// Marks an unlinked block as allocated.
    #[inline(always)]
    pub(super) fn hold(&mut self, idx: FrameIdx, order: Order, mt: MigrateType) -> FrameIdx {
        self.table.frame(idx).set_state(State::allocated(order, mt, self.owner));
        self.counts.take_pages(order.pages());
        idx
    }

    /// Cuts an unlinked block of order `from` down to order `to`; the upper halves go on the lists of `mt`.
    #[inline(always)]
    pub(super) fn expand(
        &mut self,
        idx: FrameIdx,
        from: Order,
        to: Order,
        mt: MigrateType,
        trace: &mut impl FnMut(Step),
    ) {
        let mut order = from;
        while order > to {
            let Some(half) = order.down() else { return };
            trace(Step::Split { pfn: idx.pfn(), order });
            if !planted("buddy.half_is_lost") {
                self.put(idx.upper_half(half), half, mt, Place::Front);
            }
            order = half;
        }
    }

    /// Takes back the allocated block of `order` at `idx` and merges it as far as it goes.
    ///
    /// # Errors
    /// If no allocated block of this order and owner starts there; nothing changes then.
    #[inline(always)]
    pub(super) fn release(
        &mut self,
        idx: FrameIdx,
        order: Order,
        mt: MigrateType,
        trace: &mut impl FnMut(Step),
    ) -> Result<(), Refused> {
        self.table.frame(idx).state().release(order, self.owner)?;
        self.counts.give_pages(order.pages());
        self.give(idx, order, mt, trace);
        Ok(())
    }

    /// Puts a block that is on no list back, merged as far as it goes (Linux `__free_one_page`). The caller counts
    /// its pages.
    #[inline(always)]
    pub(super) fn give(
        &mut self,
        idx: FrameIdx,
        order: Order,
        mt: MigrateType,
        trace: &mut impl FnMut(Step),
    ) {
        let (mut head, mut size) = (idx, order);
        while let (Some(buddy), Some(double)) = (head.buddy(size), size.up()) {
            if size >= self.top || planted("buddy.merges_stop_early") && double >= self.top {
                break;
            }
            let state = self.table.frame(buddy).state();
            // Nearly always the buddy is free with the same type, or not free at all: one comparison.
            let mut buddy_mt = mt;
            if state != State::free(size, mt, self.owner) {
                let wrong = planted("buddy.merges_any_order") && state.kind() == Kind::Free;
                if !(wrong || state.is_free_block(size, self.owner)) || !self.adopt_type(buddy, size, mt) {
                    break;
                }
                buddy_mt = state.migrate_type();
            }
            self.unlink(buddy, size, buddy_mt);
            let upper = if buddy.get() > head.get() { buddy } else { head };
            if !planted("buddy.old_head_stays") {
                self.table.frame(upper).set_state(State::RESERVED);
            }
            head = if buddy.get() > head.get() { head } else { buddy };
            trace(Step::Merge { pfn: head.pfn(), order: size });
            size = double;
        }
        let place = if self.merge_is_likely(head, size) { Place::Back } else { Place::Front };
        self.put(head, size, mt, place);
    }

    /// Gives the free block at `idx`, which has another migrate type, the type `mt`, if the two may mix.
    ///
    /// Only possible from the pageblock order on. The merged block takes one type, and so must its pageblocks, or
    /// splitting would put parts on the wrong lists.
    #[cold]
    #[inline(never)]
    fn adopt_type(&self, idx: FrameIdx, order: Order, mt: MigrateType) -> bool {
        let mixes = mt.is_mergeable() && self.table.frame(idx).state().migrate_type().is_mergeable();
        if mixes {
            self.table.set_migrate_type(idx, order, mt);
        }
        mixes
    }

    /// Whether the block would merge twice if its buddy were freed: then it should not be given out soon (Linux
    /// `buddy_merge_likely`).
    #[inline(always)]
    fn merge_is_likely(&self, idx: FrameIdx, order: Order) -> bool {
        let double = order.up().filter(|&double| double < self.top);
        let above = double.and_then(|double| Some((idx.block_start(double)?.buddy(double)?, double)));
        above.is_some_and(|(buddy, double)| self.table.frame(buddy).state().is_free_block(double, self.owner))
    }

    /// Cuts the allocated block of `order` at `idx` down to its first `pages` frames: what is kept becomes
    /// allocated blocks of falling order, the rest goes to the lists of `mt` (Linux `alloc_pages_exact`:
    /// `split_page`, then freeing the tail).
    pub(super) fn trim(
        &mut self,
        idx: FrameIdx,
        order: Order,
        pages: u64,
        mt: MigrateType,
        trace: &mut impl FnMut(Step),
    ) {
        let (held_for, owner) = (self.table.frame(idx).state().migrate_type(), self.owner);
        let kept = |order| State::allocated(order, held_for, owner);
        let (mut at, mut size, mut wanted) = (idx, order, pages);
        while let Some(half) = size.down().filter(|_| wanted < size.pages()) {
            trace(Step::Split { pfn: at.pfn(), order: size });
            let upper = at.upper_half(half);
            if wanted > half.pages() {
                self.table.frame(at).set_state(kept(half));
                trace(Step::Keep { pfn: at.pfn(), order: half });
                wanted -= half.pages();
                at = upper;
            } else {
                // The lower half is still held, so this merges with nothing.
                self.counts.give_pages(half.pages());
                self.give(upper, half, mt, trace);
                trace(Step::Return { pfn: upper.pfn(), order: half });
            }
            size = half;
        }
        self.table.frame(at).set_state(kept(size));
        trace(Step::Keep { pfn: at.pfn(), order: size });
    }

    /// Makes an unlinked block of an arena what it was before: a block that the zone has handed out.
    pub(super) fn return_to_zone(&mut self, idx: FrameIdx, order: Order, mt: MigrateType) {
        self.table.frame(idx).set_state(State::allocated(order, mt, Owner::Zone));
    }

    /// Whether the frame, which no allocated block starts at, is inside a free block, cached ones included.
    pub(super) fn is_inside_free(&self, idx: FrameIdx) -> bool {
        Order::all().filter_map(|order| Some((idx.block_start(order)?, order))).any(|(start, order)| {
            let state = self.table.frame(start).state();
            matches!(state.kind(), Kind::Free | Kind::Cached)
                && state.owner() == self.owner
                && state.order() >= order
        })
    }
}

/// At which end of a list a block goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Used next: its cache lines are warm.
    Front,
    /// Used last.
    Back,
}
