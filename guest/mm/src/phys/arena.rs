//! A private buddy allocator over one block of frames.
//!
//! Owns: free lists of its own; the code is the zone's. It shows the algorithm on fresh lists, whatever the rest of
//! the machine has done to memory before. Invariants: its frames are marked as an arena's, so they never merge with
//! frames outside, and the zone refuses to take them back; it never merges beyond its own block; handles borrow
//! the arena, so they cannot outlive it.

use super::buddy::{Buddy, Place};
use super::error::{AllocError, FreeError};
use super::free_area::{FreeCounts, FreeLists};
use super::ground::Run;
use super::handle::{ExactFrames, Frames, Leaks};
use super::verify::{Violation, violation};
use super::zone::explain;
use super::{GfpFlags, Phys, Step, layout::Layout};
use crate::addr::{Order, Pfn};
use crate::frame::{FrameIdx, MigrateType, Owner, ZoneId};
use crate::port::Machine;
use crate::sync::SpinLock;

/// See the module documentation.
pub struct Arena<'p, M: Machine> {
    phys: &'p Phys<M>,
    layout: &'p Layout,
    /// The block, as the zone gave it out.
    block: Frames<'p>,
    first: FrameIdx,
    zone: ZoneId,
    mt: MigrateType,
    lists: SpinLock<FreeLists>,
    counts: FreeCounts,
    leaks: Leaks,
}

/// An arena was dissolved while some of its frames were held: its block is leaked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArenaBusy {
    /// How many frames are held.
    pub pages: u64,
}

impl<M: Machine> Phys<M> {
    /// Allocates a block of `order` and starts a private allocator on it, with that block free.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn arena(&self, gfp: GfpFlags, order: Order) -> Result<Arena<'_, M>, AllocError> {
        let layout = self.layout()?;
        let block = self.alloc_pages(gfp, order)?;
        let (first, pageblock) = layout.ground.table.lookup(block.pfn()).ok_or(AllocError::NotBooted)?;
        let mut arena = Arena {
            phys: self,
            layout,
            block,
            first,
            zone: pageblock.zone(),
            mt: gfp.migrate_type(),
            lists: SpinLock::new(FreeLists::EMPTY),
            counts: FreeCounts::new(),
            leaks: Leaks::new(),
        };
        let (mt, mut buddy) = (arena.mt, arena.buddy_mut());
        buddy.put(first, order, mt, Place::Front);
        buddy.counts.give_pages(order.pages());
        Ok(arena)
    }
}

impl<M: Machine> Arena<'_, M> {
    /// The buddy algorithm on locked lists.
    fn buddy<'a>(&'a self, lists: &'a mut FreeLists) -> Buddy<'a> {
        let (table, top) = (&self.layout.ground.table, self.block.order());
        Buddy { lists, counts: &self.counts, table, owner: Owner::Arena, top }
    }

    /// The buddy algorithm while nobody else knows the arena.
    fn buddy_mut(&mut self) -> Buddy<'_> {
        let (table, top) = (&self.layout.ground.table, self.block.order());
        Buddy { lists: self.lists.get_mut(), counts: &self.counts, table, owner: Owner::Arena, top }
    }

    /// Allocates a block. `trace` sees every split.
    ///
    /// # Errors
    /// [`AllocError::OutOfMemory`].
    pub fn alloc(&self, order: Order, trace: &mut impl FnMut(Step)) -> Result<Frames<'_>, AllocError> {
        let mut lists = self.lists.lock(self.phys.machine().cpu());
        let idx =
            self.buddy(&mut lists).take_smallest(order, self.mt, trace).ok_or(AllocError::OutOfMemory)?;
        Ok(Frames::new(idx.pfn(), order, &self.leaks))
    }

    /// Allocates exactly `pages` frames, as [`Phys::alloc_pages_exact`] does.
    ///
    /// # Errors
    /// [`AllocError::BadSize`] for 0 or more than 4 MiB, [`AllocError::OutOfMemory`].
    pub fn alloc_exact(
        &self,
        pages: u64,
        trace: &mut impl FnMut(Step),
    ) -> Result<ExactFrames<'_>, AllocError> {
        let order = Order::covering(pages).ok_or(AllocError::BadSize)?;
        let mut lists = self.lists.lock(self.phys.machine().cpu());
        let mut buddy = self.buddy(&mut lists);
        let idx = buddy.take_smallest(order, self.mt, &mut |_| {}).ok_or(AllocError::OutOfMemory)?;
        buddy.trim(idx, order, pages, self.mt, trace);
        Ok(ExactFrames::new(idx.pfn(), pages, &self.leaks))
    }

    /// Takes a block back. `trace` sees every merge.
    ///
    /// # Errors
    /// [`FreeError`] if it was not allocated here like that.
    pub fn free(&self, frames: Frames<'_>, trace: &mut impl FnMut(Step)) -> Result<(), FreeError> {
        let (pfn, order) = frames.into_raw();
        let offset = pfn.get().wrapping_sub(self.first.pfn().get());
        if offset >= self.block.order().pages() {
            return Err(FreeError::NotOwned(pfn));
        }
        let (idx, _) = self.layout.ground.table.lookup(pfn).ok_or(FreeError::BadPfn(pfn))?;
        let mut lists = self.lists.lock(self.phys.machine().cpu());
        let mut buddy = self.buddy(&mut lists);
        buddy.release(idx, order, self.mt, trace).map_err(|refused| explain(&buddy, idx, refused))
    }

    /// Makes a handle again of what [`Frames::into_raw`] returned.
    ///
    /// # Safety
    /// As for [`Phys::frames_from_raw`].
    pub unsafe fn frames_from_raw(&self, pfn: Pfn, order: Order) -> Frames<'_> {
        Frames::new(pfn, order, &self.leaks)
    }

    /// The first frame of the arena.
    pub fn pfn(&self) -> Pfn {
        self.first.pfn()
    }

    /// The order of the arena.
    pub fn order(&self) -> Order {
        self.block.order()
    }

    /// Free blocks of one order.
    pub fn free_blocks(&self, order: Order) -> u32 {
        self.counts.blocks(order, self.mt)
    }

    /// Free pages.
    pub fn free_pages(&self) -> u64 {
        self.counts.pages()
    }

    /// Checks the free lists, as [`Phys::verify`] does for zones.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn verify(&self) -> Result<(), Violation> {
        let start = self.first.get();
        let bounds = Run { start, end: start.saturating_add(self.order().pages() as u32) };
        let mut lists = self.lists.lock(self.phys.machine().cpu());
        self.buddy(&mut lists).verify(bounds, 0).map_err(|broken| violation(self.zone, broken))
    }

    /// Ends the arena and gives its block back to the zone.
    ///
    /// # Errors
    /// [`ArenaBusy`] if some of it is held.
    pub fn dissolve(mut self) -> Result<(), ArenaBusy> {
        let (order, mt, first) = (self.order(), self.mt, self.first);
        let pages = order.pages().saturating_sub(self.free_pages());
        if pages != 0 {
            return Err(ArenaBusy { pages });
        }
        let mut buddy = self.buddy_mut();
        buddy.unlink(first, order, mt);
        buddy.return_to_zone(first, order, mt);
        self.phys.free_pages(self.block).map_err(|_| ArenaBusy { pages: order.pages() })
    }
}
