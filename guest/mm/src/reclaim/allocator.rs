//! Allocators around the zones: one that makes room, and one for who makes it.

use super::Reclaim;
use super::direct::Patience;
use super::last::Resort;
use crate::addr::{Order, Pfn};
use crate::mutant::planted;
use crate::phys::{AllocError, FrameAllocator, Frames, FreeError, GfpFlags, ZoneAllocator};
use crate::port::Machine;

/// Makes room when the zones have none, where the flags allow it and the caller can wait. Reclaim itself has no such
/// allocator to pass on, so it cannot get here again.
pub struct Reclaiming<'p, M: Machine> {
    zones: &'p ZoneAllocator<'p, M>,
    reclaim: &'p Reclaim<'p, M>,
}

impl<'p, M: Machine> Reclaiming<'p, M> {
    /// Allocates from `zones` and makes room with `reclaim`.
    #[must_use]
    pub const fn new(zones: &'p ZoneAllocator<'p, M>, reclaim: &'p Reclaim<'p, M>) -> Self {
        Self { zones, reclaim }
    }

    /// Room is made until there is enough, or nothing and nobody is left (Linux `__alloc_pages_slowpath`).
    #[cold]
    fn alloc_slow(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'p>, AllocError> {
        let mut dying = self.reclaim.dying_scope();
        let mut patience = Patience::default();
        loop {
            let reclaimed = self.reclaim.make_room(gfp, order);
            if let Ok(frames) = self.zones.alloc_first(gfp, order) {
                self.reclaim.found_room();
                return Ok(frames);
            }
            if !self.reclaim.is_worth_retrying(&mut patience, (gfp, order), reclaimed) {
                // What other CPUs keep, and what is held back.
                let last = self.zones.alloc(gfp, order);
                if last.is_ok() {
                    return last;
                }
                let is_dying = dying.is_some();
                let resort = if is_dying { Resort::None } else { self.reclaim.last_resort(gfp, order) };
                // It may have been chosen itself.
                if !is_dying && !planted("vm::last.chosen_ask_again") {
                    dying = self.reclaim.dying_scope();
                }
                let must_go_on = self.reclaim.must_go_on(gfp);
                match resort {
                    Resort::Room if !must_go_on => return self.zones.alloc(gfp, order),
                    Resort::None if !must_go_on => return last,
                    _ => patience = Patience::default(),
                }
            }
        }
    }
}

impl<'p, M: Machine> FrameAllocator<'p> for Reclaiming<'p, M> {
    #[inline]
    fn alloc(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'p>, AllocError> {
        if !gfp.contains(GfpFlags::__GFP_DIRECT_RECLAIM) {
            return self.zones.alloc(gfp, order);
        }
        match self.zones.alloc_first(gfp, order) {
            Err(AllocError::OutOfMemory) => self.alloc_slow(gfp, order),
            other => other,
        }
    }

    #[inline(always)]
    fn alloc_page(&self, gfp: GfpFlags) -> Result<Pfn, AllocError> {
        if !gfp.contains(GfpFlags::__GFP_DIRECT_RECLAIM) {
            return self.zones.alloc_page(gfp);
        }
        Ok(self.alloc(gfp, Order::ZERO)?.into_raw().0)
    }

    #[inline]
    fn free(&self, frames: Frames<'p>) -> Result<(), FreeError> {
        self.zones.free(frames)
    }
}

/// Uses all that there is and makes no room: for who makes room (Linux `PF_MEMALLOC`).
pub struct Reserve<'p, M> {
    zones: ZoneAllocator<'p, M>,
}

impl<'p, M> Reserve<'p, M> {
    /// Allocates from `zones`.
    #[must_use]
    pub const fn new(zones: ZoneAllocator<'p, M>) -> Self {
        Self { zones }
    }
}

impl<'p, M: Machine> FrameAllocator<'p> for Reserve<'p, M> {
    fn alloc(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'p>, AllocError> {
        self.zones.alloc((gfp - GfpFlags::__GFP_DIRECT_RECLAIM) | GfpFlags::__GFP_MEMALLOC, order)
    }

    fn free(&self, frames: Frames<'p>) -> Result<(), FreeError> {
        self.zones.free(frames)
    }
}
