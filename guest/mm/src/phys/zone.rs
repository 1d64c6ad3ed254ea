//! A zone: a range of physical addresses of one node with its own free lists and lock (Linux `struct zone`).
//!
//! Owns: the lock, the lists, the counters and the borders. Stays outside: which zone is asked (`zonelist`) and
//! watermarks. Invariants: every frame on the lists belongs to the zone; `free_pages` counts listed and deferred
//! blocks; counters are written under the lock and read without it.
//! Hot state first: the lock, the masks and the first lists share a cache line.

use super::buddy::Buddy;
use super::deferred::Deferred;
use super::error::FreeError;
use super::free_area::{FreeCounts, FreeLists};
use super::ground::{Ground, Run};
use super::step::Step;
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
    inner: SpinLock<Inner>,
    counts: FreeCounts,
    facts: ZoneFacts,
}

const NO_FACTS: ZoneFacts = ZoneFacts {
    id: ZoneId { node: NodeId::ZERO, kind: ZoneKind::Dma },
    limits: Run { start: 0, end: 0 },
    span: Run { start: 0, end: 0 },
    present: 0,
    managed: 0,
};

impl Zone {
    /// A zone without memory.
    pub(super) const fn empty() -> Self {
        Self {
            inner: SpinLock::new(Inner { lists: FreeLists::EMPTY, deferred: Deferred::NONE }),
            counts: FreeCounts::new(),
            facts: NO_FACTS,
        }
    }

    /// Builds the zone: partial 4 MiB blocks go on the lists at once, whole ones are deferred.
    pub(super) fn boot(&mut self, facts: ZoneFacts, ground: &Ground) {
        self.facts = facts;
        self.counts = FreeCounts::new();
        let deferred = Deferred::all_of(&facts, ground);
        self.counts.add_blocks(Order::MAX, MigrateType::Movable, deferred.blocks());
        self.counts.add_pages(u64::from(deferred.blocks()) << Order::MAX.get());
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
        self.inner.lock(cpu)
    }

    /// The buddy algorithm on the locked lists.
    #[inline(always)]
    pub(super) fn buddy<'a>(&'a self, lists: &'a mut FreeLists, ground: &'a Ground) -> Buddy<'a> {
        Buddy { lists, counts: &self.counts, table: &ground.table, owner: Owner::Zone, top: Order::MAX }
    }

    /// Allocates a block, from other migrate types if need be.
    #[inline]
    pub(super) fn alloc<C: Cpu>(
        &self,
        cpu: &C,
        ground: &Ground,
        order: Order,
        mt: MigrateType,
        trace: &mut impl FnMut(Step),
    ) -> Option<FrameIdx> {
        let mut inner = self.lock(cpu);
        match self.buddy(&mut inner.lists, ground).take_smallest(order, mt, trace) {
            Some(idx) => Some(idx),
            None => self.alloc_slow(&mut inner, ground, order, mt, trace),
        }
    }

    /// The lists of `mt` are empty: take in a deferred block, then try other migrate types.
    #[cold]
    #[inline(never)]
    fn alloc_slow(
        &self,
        inner: &mut Inner,
        ground: &Ground,
        order: Order,
        mt: MigrateType,
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
        buddy.claim(order, mt, trace).or_else(|| buddy.steal(order, mt, trace))
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

    /// Pages handed out since boot (`pgalloc_*` of `/proc/vmstat`).
    #[must_use]
    pub fn total_allocated(&self) -> u64 {
        self.counts.total_allocated()
    }

    /// Pages taken back since boot (this zone's part of `pgfree`).
    #[must_use]
    pub fn total_freed(&self) -> u64 {
        self.counts.total_freed()
    }
}

/// Frees a run of frames at boot as the largest aligned blocks.
fn give_run(buddy: &mut Buddy<'_>, ground: &Ground, zone: ZoneId, run: Run) {
    let mut at = run.start;
    while at < run.end {
        let fits = (run.end - at).ilog2();
        let order = Order::new(at.trailing_zeros().min(fits)).unwrap_or(Order::MAX);
        let Some(idx) = ground.table.take_in(at, zone) else { return };
        buddy.counts.add_pages(order.pages());
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
