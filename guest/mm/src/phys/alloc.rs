//! Allocating and freeing blocks: flags to zones, zones to frames.
//!
//! Owns: the walk along the zonelist, zeroing, and exact sizes. Stays outside: what to do when nothing is left.

use super::error::{AllocError, FreeError};
use super::handle::{ExactFrames, Frames};
use super::{GfpFlags, Phys, Step, layout::Layout};
use crate::addr::{NodeId, Order, Pfn};
use crate::frame::{FrameIdx, ZoneId};
use crate::port::{Cpu, Machine, PhysMem};

impl<M: Machine> Phys<M> {
    /// The node of the CPU that this runs on. Only a preference: the task may have moved when it is used.
    #[inline(always)]
    fn local_node(&self, layout: &Layout) -> NodeId {
        layout.topology.node_of(self.machine.cpu().id())
    }

    /// Allocates a block of `order`, near the running CPU.
    ///
    /// # Errors
    /// [`AllocError`].
    #[inline]
    pub fn alloc_pages(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'_>, AllocError> {
        self.alloc_pages_traced(gfp, order, &mut |_| {})
    }

    /// As [`Phys::alloc_pages`]; `trace` sees every split. It runs under a lock and must not allocate.
    ///
    /// # Errors
    /// [`AllocError`].
    #[inline]
    pub fn alloc_pages_traced(
        &self,
        gfp: GfpFlags,
        order: Order,
        trace: &mut impl FnMut(Step),
    ) -> Result<Frames<'_>, AllocError> {
        let layout = self.layout()?;
        let idx = self.find(layout, self.local_node(layout), gfp, order, trace)?;
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
        self.alloc_pages_node_traced(node, gfp, order, &mut |_| {})
    }

    /// As [`Phys::alloc_pages_node`]; `trace` sees every split. It runs under a lock and must not allocate.
    ///
    /// # Errors
    /// [`AllocError`]; [`AllocError::BadNode`] if the node is not online.
    pub fn alloc_pages_node_traced(
        &self,
        node: NodeId,
        gfp: GfpFlags,
        order: Order,
        trace: &mut impl FnMut(Step),
    ) -> Result<Frames<'_>, AllocError> {
        let layout = self.layout()?;
        if !layout.node(node).online {
            return Err(AllocError::BadNode);
        }
        let idx = self.find(layout, node, gfp, order, trace)?;
        Ok(Frames::new(idx.pfn(), order, &self.leaks))
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
        let idx = self.find(layout, self.local_node(layout), gfp, order, &mut |_| {})?;
        if let Some((_, block)) = layout.ground.table.lookup(idx.pfn()) {
            if self.debug.is_on() {
                self.retire_tail(idx, order, pages);
            }
            let zone = layout.zone(block.zone());
            zone.trim(self.machine.cpu(), &layout.ground, idx, order, pages, trace);
        }
        Ok(ExactFrames::new(idx.pfn(), pages, &self.leaks))
    }

    /// The first zone along the zonelist of `node` that has a block, and a block from it.
    #[inline(always)]
    fn find(
        &self,
        layout: &Layout,
        node: NodeId,
        gfp: GfpFlags,
        order: Order,
        trace: &mut impl FnMut(Step),
    ) -> Result<FrameIdx, AllocError> {
        if self.debug.is_on() {
            return self.find_checked(layout, node, gfp, order, trace);
        }
        self.find_plain(layout, node, gfp, order, trace)
    }

    /// As `find`, with no checks.
    #[inline(always)]
    pub(super) fn find_plain(
        &self,
        layout: &Layout,
        node: NodeId,
        gfp: GfpFlags,
        order: Order,
        trace: &mut impl FnMut(Step),
    ) -> Result<FrameIdx, AllocError> {
        let highest = gfp.zone()?;
        let mt = gfp.migrate_type();
        let list = &layout.node(node).zonelist;
        let zones = if gfp.contains(GfpFlags::__GFP_THISNODE) { list.local() } else { list.all() };
        let suits = |zone: &&ZoneId| zone.kind <= highest;
        for &id in zones.iter().filter(suits) {
            let zone = layout.zone(id);
            // Not worth a lock; a free block that appears now may as well have appeared later.
            if zone.free_pages() < order.pages() {
                continue;
            }
            if let Some(idx) = zone.alloc(self.machine.cpu(), &layout.ground, order, mt, trace) {
                if gfp.contains(GfpFlags::__GFP_ZERO) {
                    self.zero(idx, order);
                }
                return Ok(idx);
            }
        }
        Err(AllocError::OutOfMemory)
    }

    /// Zeroes a block that nobody knows yet.
    pub(super) fn zero(&self, idx: FrameIdx, order: Order) {
        for n in 0..order.pages() {
            if let Some(pfn) = idx.pfn().checked_add(n) {
                // SAFETY: the block was just allocated and nobody knows it yet.
                unsafe { self.machine.physmem().zero(pfn) };
            }
        }
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
    #[inline]
    pub fn free_pages(&self, frames: Frames<'_>) -> Result<(), FreeError> {
        self.free_pages_traced(frames, &mut |_| {})
    }

    /// As [`Phys::free_pages`]; `trace` sees every merge. It runs under a lock and must not allocate.
    ///
    /// # Errors
    /// [`FreeError`].
    #[inline]
    pub fn free_pages_traced(
        &self,
        frames: Frames<'_>,
        trace: &mut impl FnMut(Step),
    ) -> Result<(), FreeError> {
        let (pfn, order) = frames.into_raw();
        if self.debug.is_on() {
            self.retire(pfn, order);
        }
        let layout = self.layout.get().ok_or(FreeError::BadPfn(pfn))?;
        let ground = &layout.ground;
        let (idx, block) = ground.table.lookup(pfn).ok_or(FreeError::BadPfn(pfn))?;
        layout.zone(block.zone()).free(self.machine.cpu(), ground, idx, order, trace)
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
