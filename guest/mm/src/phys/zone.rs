//! A zone: a range of physical addresses of one node with its own free lists and lock (Linux `struct zone`).
//!
//! Owns: the lock, the lists, the counters, the watermarks and the borders. Stays outside: which zone is asked
//! (`zonelist`), and who may go below which mark (`slowpath`). Invariants: every frame on the lists belongs to the zone; `free_pages` counts listed and deferred
//! blocks; counters are written under the lock and read without it.
//! Hot state first: the lock, the masks and the first lists share a cache line.

use super::buddy::Buddy;
use super::deferred::Deferred;
use super::error::FreeError;
use super::events::Events;
use super::free_area::{FreeCounts, FreeLists};
use super::ground::{Ground, Run};
use super::step::Step;
use super::watermark::{AllocFlags, Marks, Watermarks};
use crate::addr::{NodeId, Order, Pfn};
use crate::frame::{FrameIdx, MigrateType, Owner, Refused, ZoneId, ZoneKind};
use crate::mutant::planted;
use crate::port::Cpu;
use crate::sync::{SpinGuard, SpinLock};

/// What is fixed at boot.
#[derive(Clone, Copy, Default)]
pub(super) struct ZoneFacts {
    pub(super) id: ZoneId,
    /// The frame numbers that a zone of this kind may have.
    pub(super) limits: Run,
    /// The frame numbers between the first and the last RAM of the node, within the limits.
    pub(super) span: Run,
    pub(super) present: u64,
    pub(super) managed: u64,
    /// Blocks never merge beyond this order.
    pub(super) top: Order,
}

/// What the lock protects.
#[repr(C)]
pub(super) struct Inner {
    pub(super) lists: FreeLists,
    pub(super) deferred: Deferred,
}

/// See the module documentation.
#[repr(C, align(64))]
pub struct Zone {
    pub(super) counts: FreeCounts,
    pub(super) marks: Marks,
    inner: SpinLock<Inner>,
    /// Of CPUs that have no set of their own.
    pub(super) events: Events,
    facts: ZoneFacts,
}

const NO_FACTS: ZoneFacts = ZoneFacts {
    id: ZoneId { node: NodeId::ZERO, kind: ZoneKind::Dma },
    limits: Run { start: 0, end: 0 },
    span: Run { start: 0, end: 0 },
    present: 0,
    managed: 0,
    top: Order::MAX,
};

impl Zone {
    /// A zone without memory.
    pub(super) const fn empty() -> Self {
        Self {
            inner: SpinLock::new(Inner { lists: FreeLists::EMPTY, deferred: Deferred::NONE }),
            counts: FreeCounts::new(),
            marks: Marks::new(),
            events: Events::new(),
            facts: NO_FACTS,
        }
    }

    /// Builds the zone: partial 4 MiB blocks go on the lists at once, whole ones are deferred.
    pub(super) fn boot(&mut self, facts: ZoneFacts, ground: &Ground) {
        self.facts = facts;
        self.counts = FreeCounts::new();
        self.marks = Marks::new();
        let deferred = Deferred::all_of(&facts, ground);
        self.counts.add_blocks(Order::MAX, MigrateType::Movable, deferred.blocks());
        self.counts.give_pages(u64::from(deferred.blocks()) << Order::MAX.get());
        let inner = self.inner.get_mut();
        *inner = Inner { lists: FreeLists::EMPTY, deferred };
        let mut buddy = Buddy {
            lists: &mut inner.lists,
            counts: &self.counts,
            table: &ground.table,
            owner: Owner::Zone,
            top: Order::MAX,
        };
        for run in ground.free_runs(facts.id.node) {
            let (head, _, tail) = run.clamp(facts.limits.start, facts.limits.end).split_at_blocks();
            give_run(&mut buddy, ground, facts.id, head);
            give_run(&mut buddy, ground, facts.id, tail);
        }
    }

    /// The lists under the lock.
    #[inline(always)]
    pub(super) fn lock<'a, C: Cpu>(&'a self, cpu: &'a C) -> SpinGuard<'a, Inner, C> {
        let inner = self.inner.lock(cpu);
        self.counts.count_lock();
        inner
    }

    /// How often its lock was taken since boot.
    #[must_use]
    pub fn lock_count(&self) -> u64 {
        self.counts.locks()
    }

    /// The buddy algorithm on the locked lists.
    #[inline(always)]
    pub(super) fn buddy<'a>(&'a self, lists: &'a mut FreeLists, ground: &'a Ground) -> Buddy<'a> {
        Buddy { lists, counts: &self.counts, table: &ground.table, owner: Owner::Zone, top: self.facts.top }
    }

    /// Allocates a block, from other migrate types if need be (Linux `rmqueue_buddy`).
    pub(super) fn alloc<C: Cpu>(
        &self,
        cpu: &C,
        ground: &Ground,
        order: Order,
        mt: MigrateType,
        flags: AllocFlags,
        trace: &mut impl FnMut(Step),
    ) -> Option<FrameIdx> {
        let mut inner = self.lock(cpu);
        let mut buddy = self.buddy(&mut inner.lists, ground);
        let held_back = flags.contains(AllocFlags::HIGHATOMIC);
        if held_back && let Some(idx) = buddy.take_smallest(order, MigrateType::HighAtomic, trace) {
            return Some(idx);
        }
        match buddy.take_smallest(order, mt, trace) {
            Some(idx) => Some(idx),
            None => self.alloc_slow(&mut inner, ground, order, mt, flags, trace),
        }
    }

    /// The lists of `mt` are empty: take in a deferred block, then try other migrate types, at last, for those who
    /// cannot wait, what is held back.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slow(
        &self,
        inner: &mut Inner,
        ground: &Ground,
        order: Order,
        mt: MigrateType,
        flags: AllocFlags,
        trace: &mut impl FnMut(Step),
    ) -> Option<FrameIdx> {
        let Inner { lists, deferred } = inner;
        let mut buddy = self.buddy(lists, ground);
        // A deferred block is a free movable one of the largest order, so it is what a fallback finds first.
        if buddy.lists.smallest(Order::MAX, MigrateType::Movable).is_none()
            && deferred.take_in(&mut buddy, &self.facts, ground)
            && mt == MigrateType::Movable
        {
            return buddy.take_smallest(order, mt, trace);
        }
        let marks = &self.marks;
        let idx = buddy.claim(order, mt, || marks.raise(), trace).or_else(|| buddy.steal(order, mt, trace));
        if idx.is_none() && flags.intersects(AllocFlags::OOM | AllocFlags::NON_BLOCK) {
            return buddy.take_smallest(order, MigrateType::HighAtomic, trace);
        }
        idx
    }

    /// Takes a block back.
    #[inline]
    pub(super) fn free<C: Cpu>(
        &self,
        cpu: &C,
        ground: &Ground,
        idx: FrameIdx,
        order: Order,
        trace: &mut impl FnMut(Step),
    ) -> Result<(), FreeError> {
        let mut inner = self.lock(cpu);
        let mut buddy = self.buddy(&mut inner.lists, ground);
        // Read under the lock: the type of a pageblock changes under it.
        let mt = match planted("zones.frees_to_asked_type") {
            true => buddy.table.frame(idx).state().migrate_type(),
            false => buddy.table.migrate_type(idx),
        };
        buddy.release(idx, order, mt, trace).map_err(|refused| explain(&buddy, idx, refused))
    }

    /// Keeps the first `pages` frames of an allocated block and takes the others back.
    pub(super) fn trim<C: Cpu>(
        &self,
        cpu: &C,
        ground: &Ground,
        idx: FrameIdx,
        order: Order,
        pages: u64,
        trace: &mut impl FnMut(Step),
    ) {
        let mut inner = self.lock(cpu);
        let mut buddy = self.buddy(&mut inner.lists, ground);
        let mt = buddy.table.migrate_type(idx);
        buddy.trim(idx, order, pages, mt, trace);
    }

    /// Lowers a boost of the watermarks by `pages`, or ends it.
    pub(super) fn lower_boost<C: Cpu>(&self, cpu: &C, pages: u64) {
        if self.marks.boost() > 0 && pages > 0 {
            let _locked = self.lock(cpu);
            self.marks.lower(pages);
        }
    }

    /// Puts up to `limit` deferred blocks on the lists and returns how many are left. Unlocks between blocks.
    pub(super) fn take_in_deferred<C: Cpu>(&self, cpu: &C, ground: &Ground, limit: u32) -> u32 {
        let mut left = self.lock(cpu).deferred.blocks();
        for _ in 0..limit.min(left) {
            let mut inner = self.lock(cpu);
            let Inner { lists, deferred } = &mut *inner;
            deferred.take_in(&mut self.buddy(lists, ground), &self.facts, ground);
            left = deferred.blocks();
        }
        left
    }

    pub(super) fn facts(&self) -> &ZoneFacts {
        &self.facts
    }

    /// Which zone this is.
    #[must_use]
    pub fn id(&self) -> ZoneId {
        self.facts.id
    }

    /// Whether there is RAM in it. Linux's texts leave out zones without.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        self.facts.present != 0
    }

    /// The first frame of the span.
    #[must_use]
    pub fn start_pfn(&self) -> Pfn {
        Pfn::from_u32(self.facts.span.start)
    }

    /// Pages between the first and the last address, holes included.
    #[must_use]
    pub fn spanned_pages(&self) -> u64 {
        self.facts.span.pages()
    }

    /// Pages of RAM.
    #[must_use]
    pub fn present_pages(&self) -> u64 {
        self.facts.present
    }

    /// Pages that the allocator was given at boot.
    #[must_use]
    pub fn managed_pages(&self) -> u64 {
        self.facts.managed
    }

    /// Free pages, deferred ones included.
    #[must_use]
    pub fn free_pages(&self) -> u64 {
        self.counts.pages()
    }

    /// Free blocks of one order and migrate type, deferred ones included.
    #[must_use]
    pub fn free_blocks(&self, order: Order, mt: MigrateType) -> u32 {
        self.counts.blocks(order, mt)
    }

    /// Free blocks of one order (a column of `/proc/buddyinfo`).
    #[must_use]
    pub fn free_blocks_of_order(&self, order: Order) -> u32 {
        MigrateType::ALL.iter().map(|&mt| self.free_blocks(order, mt)).sum()
    }

    /// Its watermarks, with the boost.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        self.marks.watermarks()
    }

    /// Pages by which its watermarks are raised, because pageblocks got pages of different types (`boost` in
    /// `/proc/zoneinfo`).
    #[must_use]
    pub fn watermark_boost(&self) -> u64 {
        self.marks.boost()
    }

    /// Pages that it keeps from allocations that could use a zone of kind `highest` (`protection` in
    /// `/proc/zoneinfo`).
    #[must_use]
    pub fn lowmem_reserve(&self, highest: ZoneKind) -> u64 {
        self.marks.reserve(highest)
    }
}

/// Frees a run of frames at boot as the largest aligned blocks.
fn give_run(buddy: &mut Buddy<'_>, ground: &Ground, zone: ZoneId, run: Run) {
    let mut at = run.start;
    while at < run.end {
        let fits = (run.end - at).ilog2();
        let order = Order::new(at.trailing_zeros().min(fits)).unwrap_or(Order::MAX);
        let Some(idx) = ground.table.take_in(at, zone) else { return };
        buddy.counts.give_pages(order.pages());
        buddy.give(idx, order, MigrateType::Movable, &mut |_| {});
        at += order.pages() as u32;
    }
}

/// What is wrong with a block that was refused.
#[cold]
pub(super) fn explain(buddy: &Buddy<'_>, idx: FrameIdx, refused: Refused) -> FreeError {
    let pfn = idx.pfn();
    match refused {
        Refused::WrongOrder(allocated) => FreeError::WrongOrder { pfn, allocated },
        Refused::NotHeld if buddy.is_inside_free(idx) => FreeError::DoubleFree(pfn),
        Refused::NotHeld => FreeError::NotOwned(pfn),
    }
}
