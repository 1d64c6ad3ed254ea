//! Allocating and freeing blocks: the short ways, which touch only what the running CPU owns.
//!
//! Owns: taking a block from the CPU's lists and giving one back, and handles. Stays outside: everything that takes
//! longer (`slowpath`, `free_slow`). Invariants: interrupts are masked from the choice of the CPU's lists to the last
//! change of them; the short ways do nothing while any check of pages is on (`debug`), so all checks stand in the long
//! ways, which see everything then.

use super::error::{AllocError, FreeError};
use super::events::Event;
use super::handle::{ExactFrames, Frames};
use super::pcp::{Length, ListNo};
use super::slowpath::Attempt;
use super::{GfpFlags, Phys, Step};
use crate::addr::{NodeId, Order, Pfn};
use crate::frame::{FrameIdx, Owner, State, ZoneId};
use crate::port::{Cpu, Machine, PhysMem, TaskFlags};

impl<M: Machine> Phys<M> {
    /// Allocates a block of `order`, near the running CPU.
    ///
    /// # Errors
    /// [`AllocError`].
    #[inline]
    pub fn alloc_pages(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'_>, AllocError> {
        self.alloc_near(gfp, order, Attempt::new)
    }

    /// As [`Phys::alloc_pages`], for who makes room if it fails, as far as the flags allow, and tries again: what is tried last
    /// is not tried yet.
    ///
    /// # Errors
    /// [`AllocError`].
    #[inline]
    pub(crate) fn alloc_pages_first(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'_>, AllocError> {
        self.alloc_near(gfp, order, |gfp, order| Attempt { first: true, ..Attempt::new(gfp, order) })
    }

    /// Allocates a block near the running CPU; `attempt` says what is tried where its lists have none.
    #[inline(always)]
    fn alloc_near(
        &self,
        gfp: GfpFlags,
        order: Order,
        attempt: impl FnOnce(GfpFlags, Order) -> Attempt,
    ) -> Result<Frames<'_>, AllocError> {
        let idx = match self.take_cached(gfp, order) {
            Some(idx) => {
                if gfp.contains(GfpFlags::__GFP_ZERO) {
                    self.zero(idx, order);
                }
                idx
            }
            None => self.alloc_missed(&attempt(gfp, order))?,
        };
        Ok(Frames::new(idx.pfn(), order, &self.leaks))
    }

    /// Allocates a page, which is the caller's then, and gives its number: as [`Phys::alloc_pages`], at the place of the
    /// call, for who knows the flags there.
    ///
    /// # Errors
    /// [`AllocError`].
    #[inline(always)]
    pub fn alloc_raw_page(&self, gfp: GfpFlags) -> Result<Pfn, AllocError> {
        let Some(idx) = self.take_cached(gfp, Order::ZERO) else {
            return self.alloc_missed(&Attempt::new(gfp, Order::ZERO)).map(FrameIdx::pfn);
        };
        if gfp.contains(GfpFlags::__GFP_ZERO) {
            self.zero_here(idx, Order::ZERO);
        }
        Ok(idx.pfn())
    }

    /// A block that the CPU's lists do not have.
    #[cold]
    #[inline(never)]
    fn alloc_missed(&self, attempt: &Attempt) -> Result<FrameIdx, AllocError> {
        self.alloc_slow(attempt, &mut |_| {})
    }

    /// As [`Phys::alloc_pages`], past the CPU's lists; `trace` sees every split. It runs under a lock and must not
    /// allocate.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn alloc_pages_traced(
        &self,
        gfp: GfpFlags,
        order: Order,
        trace: &mut dyn FnMut(Step),
    ) -> Result<Frames<'_>, AllocError> {
        let attempt = Attempt { cached: false, ..Attempt::new(gfp, order) };
        let idx = self.alloc_slow(&attempt, trace)?;
        Ok(Frames::new(idx.pfn(), order, &self.leaks))
    }

    /// Allocates a block of `order`, near `node`.
    ///
    /// # Errors
    /// [`AllocError`]; [`AllocError::BadNode`] if the node is not online.
    pub fn alloc_pages_node(
        &self,
        node: NodeId,
        gfp: GfpFlags,
        order: Order,
    ) -> Result<Frames<'_>, AllocError> {
        let attempt = Attempt { node: Some(node), ..Attempt::new(gfp, order) };
        let idx = self.alloc_slow(&attempt, &mut |_| {})?;
        Ok(Frames::new(idx.pfn(), order, &self.leaks))
    }

    /// As [`Phys::alloc_pages_node`], past the CPU's lists; `trace` sees every split. It runs under a lock and must
    /// not allocate.
    ///
    /// # Errors
    /// [`AllocError`]; [`AllocError::BadNode`] if the node is not online.
    pub fn alloc_pages_node_traced(
        &self,
        node: NodeId,
        gfp: GfpFlags,
        order: Order,
        trace: &mut dyn FnMut(Step),
    ) -> Result<Frames<'_>, AllocError> {
        let attempt = Attempt { node: Some(node), cached: false, ..Attempt::new(gfp, order) };
        let idx = self.alloc_slow(&attempt, trace)?;
        Ok(Frames::new(idx.pfn(), order, &self.leaks))
    }

    /// Whether the running task gets these pages from elsewhere than other tasks: of all scopes only one decides that,
    /// as long as there is plenty of memory.
    #[inline(always)]
    pub(super) fn is_elsewhere_in_scope(&self, gfp: GfpFlags) -> bool {
        gfp.contains(GfpFlags::__GFP_MOVABLE)
            && self.machine.cpu().task_flags().contains(TaskFlags::PF_MEMALLOC_PIN)
    }

    /// The newest block of the CPU's list, if the zone it prefers has plenty of memory.
    #[inline(always)]
    fn take_cached(&self, gfp: GfpFlags, order: Order) -> Option<FrameIdx> {
        let (highest, mt) = (gfp.zone().ok()?, gfp.migrate_type());
        let list = ListNo::of(order, mt)?;
        if self.debug.is_on() {
            return None;
        }
        if self.is_elsewhere_in_scope(gfp) {
            return None;
        }
        let cpu = self.machine.cpu();
        let _masked = cpu.irq_guard();
        let area = self.pagesets.of(cpu.id())?;
        let (zone, set) = area.preferred(highest)?;
        if zone.free_pages() < zone.marks.fast(highest).wrapping_add(order.pages()) {
            return None;
        }
        let idx = set.pop(&area.table, list, order)?;
        area.table.frame(idx).set_state(State::allocated(order, mt, Owner::Zone));
        set.events.add(Event::PgAlloc, order.pages());
        set.events.add(Event::HitLocal, 1);
        Some(idx)
    }

    /// Allocates exactly `pages` contiguous frames: a block that is large enough, minus what is too much (Linux
    /// `alloc_pages_exact`). `trace` sees every split and what is kept and returned; it must not allocate.
    ///
    /// # Errors
    /// [`AllocError`]; [`AllocError::BadSize`] for 0 or more than 4 MiB.
    pub fn alloc_pages_exact(
        &self,
        gfp: GfpFlags,
        pages: u64,
        trace: &mut impl FnMut(Step),
    ) -> Result<ExactFrames<'_>, AllocError> {
        let layout = self.layout()?;
        let order = Order::covering(pages).ok_or(AllocError::BadSize)?;
        let attempt = Attempt { cached: false, ..Attempt::new(gfp, order) };
        let idx = self.alloc_slow(&attempt, &mut |_| {})?;
        if let Some((_, block)) = layout.ground.table.lookup(idx.pfn()) {
            if self.debug.is_on() {
                self.retire_tail(idx, order, pages);
            }
            let zone = layout.zone(block.zone());
            zone.trim(self.machine.cpu(), &layout.ground, idx, order, pages, trace);
            self.count(zone, Event::PgFree, order.pages() - pages);
        }
        Ok(ExactFrames::new(idx.pfn(), pages, &self.leaks))
    }

    /// Zeroes a block that nobody knows yet.
    #[inline(never)]
    pub(super) fn zero(&self, idx: FrameIdx, order: Order) {
        self.zero_here(idx, order);
    }

    #[inline(always)]
    fn zero_here(&self, idx: FrameIdx, order: Order) {
        // SAFETY: the block was just allocated and nobody knows it yet.
        unsafe { self.machine.physmem().zero_block(idx.pfn(), order.pages()) };
    }

    /// Makes a handle again of what [`Frames::into_raw`] returned.
    ///
    /// # Safety
    /// If a block starts at `pfn`, the caller owns it, and no other handle to it exists. A number at which no
    /// allocated block of that order starts is allowed: freeing it is refused.
    #[inline(always)]
    pub unsafe fn frames_from_raw(&self, pfn: Pfn, order: Order) -> Frames<'_> {
        Frames::new(pfn, order, &self.leaks)
    }

    /// Takes a block back.
    ///
    /// # Errors
    /// [`FreeError`] if it was not allocated like that; the allocator is unchanged then.
    #[inline(always)]
    pub fn free_pages(&self, frames: Frames<'_>) -> Result<(), FreeError> {
        let (pfn, order) = frames.into_raw();
        if order == Order::ZERO { self.free_page(pfn) } else { self.free_block(pfn, order) }
    }

    #[inline(never)]
    fn free_page(&self, pfn: Pfn) -> Result<(), FreeError> {
        self.free_near(pfn, Order::ZERO)
    }

    #[inline(never)]
    fn free_block(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.free_near(pfn, order)
    }

    #[inline(always)]
    fn free_near(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        match self.give_cached(pfn, order) {
            Some((_, _, Length::Fine)) => Ok(()),
            Some((slot, list, length)) => self.shorten(slot, list, length),
            None => self.free_slow(pfn, order, &mut |_| {}),
        }
    }

    /// As [`Phys::free_pages`], past the CPU's lists; `trace` sees every merge. It runs under a lock and must not
    /// allocate.
    ///
    /// # Errors
    /// [`FreeError`].
    pub fn free_pages_traced(
        &self,
        frames: Frames<'_>,
        trace: &mut dyn FnMut(Step),
    ) -> Result<(), FreeError> {
        let (pfn, order) = frames.into_raw();
        self.free_slow(pfn, order, trace)
    }

    /// Puts a block on the CPU's list and tells which that is; `None` if it did not go there and nothing has changed.
    #[inline(always)]
    fn give_cached(&self, pfn: Pfn, order: Order) -> Option<(usize, ListNo, Length)> {
        if self.debug.is_on() {
            return None;
        }
        let cpu = self.machine.cpu();
        let _masked = cpu.irq_guard();
        self.pagesets.of(cpu.id())?.give(pfn, order)
    }

    /// Gives back what has become too much on the CPU's lists of a zone, if anything has.
    #[inline(always)]
    pub(super) fn shorten_if(&self, slot: usize, list: ListNo, length: Length) {
        if length != Length::Fine {
            // That never fails.
            let _ = self.shorten(slot, list, length);
        }
    }

    /// Gives back what has become too much on the CPU's lists of a zone.
    #[cold]
    #[inline(never)]
    fn shorten(&self, slot: usize, list: ListNo, length: Length) -> Result<(), FreeError> {
        let cpu = self.machine.cpu();
        let _masked = cpu.irq_guard();
        if let (Some(layout), Some(area)) = (self.layout.get(), self.pagesets.of(cpu.id())) {
            layout.zone(ZoneId::from_slot(slot)).spill(cpu, &layout.ground, area.set(slot), list, length);
        }
        Ok(())
    }

    /// Gives a block back to its zone, or says why not.
    #[cold]
    #[inline(never)]
    fn free_slow(&self, pfn: Pfn, order: Order, mut trace: &mut dyn FnMut(Step)) -> Result<(), FreeError> {
        if self.debug.is_on() {
            self.retire(pfn, order);
        }
        let layout = self.layout.get().ok_or(FreeError::BadPfn(pfn))?;
        let (idx, block) = layout.ground.table.lookup(pfn).ok_or(FreeError::BadPfn(pfn))?;
        let (zone, cpu) = (layout.zone(block.zone()), self.machine.cpu());
        zone.free(cpu, &layout.ground, idx, order, &mut trace)?;
        zone.marks.look_again(zone.free_pages());
        self.count(zone, Event::PgFree, order.pages());
        Ok(())
    }

    /// Takes an exact run back, block by block.
    ///
    /// # Errors
    /// [`FreeError`] of the first block that was refused; the blocks after it are leaked.
    pub fn free_pages_exact(&self, mut frames: ExactFrames<'_>) -> Result<(), FreeError> {
        while let Some(block) = frames.take_block() {
            self.free_pages(block)?;
        }
        Ok(())
    }

    /// Puts up to `limit` deferred 4 MiB blocks of all zones on their free lists, as idle CPUs do, and returns how
    /// many are left. Nothing observable changes, except that later allocations are faster.
    pub fn take_in_deferred(&self, limit: u32) -> u32 {
        let Some(layout) = self.layout.get() else { return 0 };
        let (mut budget, mut left) = (limit, 0);
        for zone in self.populated_zones() {
            let before = zone.take_in_deferred(self.machine.cpu(), &layout.ground, 0);
            let after = zone.take_in_deferred(self.machine.cpu(), &layout.ground, budget);
            budget = budget.saturating_sub(before.saturating_sub(after));
            left += after;
        }
        left
    }
}
