//! The lists of free blocks that one CPU keeps of one zone, and how long they may grow.
//!
//! Owns: the lists, their length and the rules that adapt it to what the CPU does. Stays outside: moving blocks to
//! and from the zone (`refill`). Invariants: only the owning CPU writes, with interrupts masked, but for the limits;
//! every block on a list is `Cached` with the order and type of the list; `count` is the sum of their pages.
//! All fields are atomic, and all accesses plain, so that others may look at any time.
//! Source: Linux 6.18 `mm/page_alloc.c` (`struct per_cpu_pages`, `nr_pcp_alloc`, `nr_pcp_high`, `nr_pcp_free`).

use super::super::events::Events;
use crate::addr::Order;
use crate::frame::{FrameChain, FrameIdx, FrameStack, FrameTable, MigrateType, State};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Migrate types that have lists: the first three.
const TYPES: usize = 3;
/// The largest order that is kept, besides huge pages (Linux `PAGE_ALLOC_COSTLY_ORDER`).
const COSTLY_ORDER: u32 = 3;
const LOW_LISTS: usize = TYPES * (COSTLY_ORDER as usize + 1);
/// Two more for huge pages: movable or not.
const LISTS: usize = LOW_LISTS + 2;
/// A batch grows up to so many times its size, as a power of two (Linux `CONFIG_PCP_BATCH_SCALE_MAX`).
const BATCH_SCALE_MAX: u32 = 5;
/// The last block freed was larger than a page.
const PREV_FREE_HIGH_ORDER: u8 = 1;

/// Which list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListNo(u8);

impl ListNo {
    /// Any list, for those that take from all.
    pub(crate) const FIRST: Self = Self(0);

    /// The list of blocks of `order` and type `mt`; `None` if such blocks are not kept.
    #[inline(always)]
    pub(crate) const fn of(order: Order, mt: MigrateType) -> Option<Self> {
        if mt.index() >= TYPES {
            None
        } else if order.get() <= COSTLY_ORDER {
            Some(Self((TYPES * order.index() + mt.index()) as u8))
        } else if order.get() == Order::PAGEBLOCK.get() {
            Some(Self(LOW_LISTS as u8 + matches!(mt, MigrateType::Movable) as u8))
        } else {
            None
        }
    }

    fn all() -> impl Iterator<Item = Self> + Clone {
        (0..LISTS as u8).map(Self)
    }

    /// The order of its blocks.
    pub(crate) fn order(self) -> Order {
        if usize::from(self.0) < LOW_LISTS {
            Order::new(u32::from(self.0) / TYPES as u32).unwrap_or_default()
        } else {
            Order::PAGEBLOCK
        }
    }

    /// Whether blocks of type `mt` and its order are on it.
    pub(crate) fn holds(self, mt: MigrateType) -> bool {
        Self::of(self.order(), mt) == Some(self)
    }
}

/// How long the lists may grow, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Limits {
    /// Pages moved at once.
    pub(crate) batch: u32,
    /// `high` never falls below this.
    pub(crate) high_min: u32,
    /// `high` never rises above this.
    pub(crate) high_max: u32,
}

/// See the module documentation.
#[repr(C, align(64))]
#[derive(Default)]
pub(crate) struct Pageset {
    lists: [FrameStack; LISTS],
    count: AtomicU32,
    high: AtomicU32,
    batch: AtomicU32,
    high_min: AtomicU32,
    high_max: AtomicU32,
    /// Pages freed in a row, fading with every allocation.
    free_count: AtomicU32,
    /// How often allocations in a row have doubled the batch, fading with every free.
    alloc_factor: AtomicU8,
    flags: AtomicU8,
    pub(crate) events: Events,
}

fn load(word: &AtomicU32) -> u32 {
    word.load(Ordering::Relaxed)
}

#[inline(always)]
fn add(word: &AtomicU32, n: u32) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl Pageset {
    #[inline(always)]
    fn list(&self, list: ListNo) -> &FrameStack {
        // SAFETY: a `ListNo` is below `LISTS`, the length of the array.
        unsafe { self.lists.get_unchecked(usize::from(list.0)) }
    }

    /// Takes the newest block of a list.
    #[inline(always)]
    pub(crate) fn pop(&self, table: &FrameTable, list: ListNo, order: Order) -> Option<FrameIdx> {
        let idx = self.list(list).pop(table)?;
        add(&self.count, (order.pages() as u32).wrapping_neg());
        self.free_count.store(self.free_count.load(Ordering::Relaxed) >> 1, Ordering::Relaxed);
        Some(idx)
    }

    /// Puts a block of type `mt` on its list and says what that calls for.
    #[inline(always)]
    #[must_use = "lists that are too long give something back"]
    pub(crate) fn push(
        &self,
        table: &FrameTable,
        list: ListNo,
        idx: FrameIdx,
        order: Order,
        mt: MigrateType,
    ) -> Length {
        table.frame(idx).set_state(State::cached(order, mt));
        self.list(list).push(table, idx);
        let count = load(&self.count).wrapping_add(order.pages() as u32);
        self.count.store(count, Ordering::Relaxed);
        self.alloc_factor.store(self.alloc_factor.load(Ordering::Relaxed) >> 1, Ordering::Relaxed);
        let in_a_row = load(&self.free_count).wrapping_add(order.pages() as u32);
        self.free_count.store(in_a_row, Ordering::Relaxed);
        let before = self.flags.load(Ordering::Relaxed);
        let larger = order.get() != 0 && order.get() <= COSTLY_ORDER;
        self.flags.store(if larger { PREV_FREE_HIGH_ORDER } else { 0 }, Ordering::Relaxed);
        if larger && before == PREV_FREE_HIGH_ORDER && self.frees_many(count, in_a_row) {
            return Length::FreesLargeBlocks;
        }
        if count >= load(&self.high) { Length::AboveHigh } else { Length::Fine }
    }

    /// Puts single pages of type `mt` on their list until it is too long, but at least one: how many, and what that calls
    /// for. As if they were pushed one by one.
    #[inline(always)]
    #[must_use = "lists that are too long give something back"]
    pub(crate) fn push_run(
        &self,
        table: &FrameTable,
        list: ListNo,
        pages: impl Iterator<Item = FrameIdx>,
        mt: MigrateType,
    ) -> (u32, Length) {
        let (count, high) = (load(&self.count), load(&self.high));
        let room = high.saturating_sub(count).max(1);
        let mut pushed = 0;
        for idx in pages.take(room as usize) {
            table.frame(idx).set_state(State::cached(Order::ZERO, mt));
            self.list(list).push(table, idx);
            pushed += 1;
        }
        add(&self.count, pushed);
        let factor = self.alloc_factor.load(Ordering::Relaxed);
        self.alloc_factor.store(factor.checked_shr(pushed).unwrap_or(0), Ordering::Relaxed);
        add(&self.free_count, pushed);
        self.flags.store(0, Ordering::Relaxed);
        (pushed, if count.wrapping_add(pushed) >= high { Length::AboveHigh } else { Length::Fine })
    }

    /// Whether so many frees in a row, of blocks larger than a page, are better seen by the zone, where they merge.
    fn frees_many(&self, count: u32, in_a_row: u32) -> bool {
        let batch = load(&self.batch);
        in_a_row >= batch.saturating_add(load(&self.high_min) / 2) && count >= batch
    }

    /// How many pages to fetch now that a list is empty, at least one block (Linux `nr_pcp_alloc`). `roomy` tells
    /// that the zone has plenty of free pages.
    pub(crate) fn blocks_to_fetch(&self, order: Order, roomy: bool) -> u32 {
        let limits = self.limits();
        let mut high = load(&self.high).clamp(limits.high_min, limits.high_max);
        let base = limits.batch;
        if high < base || base == 0 {
            return 1;
        }
        let factor = u32::from(self.alloc_factor.load(Ordering::Relaxed));
        // A short zone is not asked for more at once: that would go far below its mark.
        let doubled = order.get() == 0 && roomy;
        let mut batch = if doubled { base << factor.min(BATCH_SCALE_MAX) } else { base };
        // With a longer list the zone would not have been asked.
        if limits.high_min != limits.high_max && roomy {
            high = high.saturating_add(batch).min(limits.high_max);
        }
        self.high.store(high, Ordering::Relaxed);
        if order.get() == 0 {
            let most = high.saturating_sub(load(&self.count)).saturating_sub(base).max(base);
            if batch <= most && factor < BATCH_SCALE_MAX {
                self.alloc_factor.store(factor as u8 + 1, Ordering::Relaxed);
            }
            batch = batch.min(most);
        }
        if batch > 1 { (batch >> order.get()).max(2) } else { batch }
    }

    /// How many pages to give back after a free that made the lists long (Linux `nr_pcp_high`, `nr_pcp_free`).
    /// `roomy` tells that the zone has plenty of free pages.
    pub(crate) fn pages_to_spill(&self, length: Length, roomy: bool) -> u32 {
        let Limits { batch, high_min, high_max } = self.limits();
        let count = load(&self.count);
        let in_a_row = load(&self.free_count).min(batch << BATCH_SCALE_MAX);
        self.free_count.store(in_a_row, Ordering::Relaxed);
        let mut high = load(&self.high).clamp(high_min, high_max);
        if length == Length::FreesLargeBlocks {
            let lower = high.saturating_sub(batch << BATCH_SCALE_MAX).max(high_min);
            self.high.store(lower, Ordering::Relaxed);
            return count.min(batch << BATCH_SCALE_MAX);
        }
        let mut kept = high;
        if high_min != high_max {
            if !roomy {
                high = high.saturating_sub(in_a_row.max(batch)).max(high_min);
                kept = count.max(high_min);
            } else if count >= high {
                // The lists should hold what is freed in a row.
                high = high.max(in_a_row.saturating_add(batch).clamp(high_min, high_max));
            }
        }
        self.high.store(high, Ordering::Relaxed);
        if count < kept {
            return 0;
        }
        // Lists that are switched off hold nothing.
        if kept < batch || kept == 0 {
            count
        } else {
            in_a_row.clamp(batch, (kept - batch).max(batch)).min(count)
        }
    }

    /// Takes blocks off the lists, those of `first` before others, until `pages` pages are off; `each` gets them.
    pub(crate) fn take_off(
        &self,
        table: &FrameTable,
        first: ListNo,
        pages: u32,
        mut each: impl FnMut(FrameIdx, Order),
    ) {
        let mut taken = 0;
        for list in ListNo::all().cycle().skip(usize::from(first.0)).take(LISTS) {
            let order = list.order();
            while taken < pages
                && let Some(idx) = self.list(list).pop(table)
            {
                each(idx, order);
                taken += order.pages() as u32;
            }
        }
        add(&self.count, taken.wrapping_neg());
    }

    /// Makes `chain` the contents of a list that is empty.
    pub(crate) fn fill(&self, table: &FrameTable, list: ListNo, chain: FrameChain, blocks: u32) {
        chain.move_to(table, self.list(list));
        add(&self.count, blocks << list.order().get());
    }

    /// Takes the lists back to their least length over time (Linux `decay_pcp_high`); returns how many pages are
    /// above it then.
    pub(crate) fn decay(&self) -> u32 {
        let Limits { batch, high_min, .. } = self.limits();
        let (count, high) = (load(&self.count), load(&self.high));
        if high > high_min {
            let lower = count.saturating_sub(batch << BATCH_SCALE_MAX).max(high - high / 5).max(high_min);
            self.high.store(lower, Ordering::Relaxed);
        }
        count.saturating_sub(load(&self.high))
    }

    /// The limits.
    pub(crate) fn limits(&self) -> Limits {
        let Self { batch, high_min, high_max, .. } = self;
        let high_min = load(high_min);
        Limits { batch: load(batch), high_min, high_max: load(high_max).max(high_min) }
    }

    /// Sets the limits; any CPU may.
    pub(crate) fn set_limits(&self, limits: Limits) {
        self.batch.store(limits.batch, Ordering::Relaxed);
        self.high_min.store(limits.high_min, Ordering::Relaxed);
        self.high_max.store(limits.high_max, Ordering::Relaxed);
        let high_max = limits.high_max.max(limits.high_min);
        self.high.store(load(&self.high).clamp(limits.high_min, high_max), Ordering::Relaxed);
    }

    /// Pages on the lists.
    pub(crate) fn count(&self) -> u32 {
        load(&self.count)
    }

    /// How long the lists may be now.
    pub(crate) fn high(&self) -> u32 {
        load(&self.high)
    }

    /// Every list and the blocks on it, newest first.
    pub(crate) fn blocks<'a>(
        &'a self,
        table: &'a FrameTable,
    ) -> impl Iterator<Item = (ListNo, FrameIdx)> + use<'a> {
        ListNo::all().flat_map(move |list| self.list(list).iter(table).map(move |idx| (list, idx)))
    }
}

/// What a free calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Length {
    /// Nothing.
    Fine,
    /// The lists are longer than they should be.
    AboveHigh,
    /// Blocks larger than a page are freed in a row: the zone should have them.
    FreesLargeBlocks,
}
