//! Slabs from and to the page allocator.
//!
//! Owns: making a slab of a block and a block of a slab. Invariants: a new slab belongs to nobody but its maker
//! until it is handed over; a slab goes back only when none of its objects is in use and it is on no list.

use super::cache::Cache;
use super::frame::{self, SlabFrame};
use super::{SlabFlags, Slabs};
use crate::frame::FrameIdx;
use crate::mutant::planted;
use crate::phys::{AllocError, FrameAllocator, GfpFlags};
use crate::port::{Machine, PhysMem};
use crate::sync::{Place, rcu};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// What a slab's pages are not asked for with, even if an object is: its zone is the cache's to choose, objects cannot
/// move, and zeroing is for objects (Linux `GFP_SLAB_BUG_MASK`, `allocate_slab`).
const NOT_FOR_PAGES: GfpFlags = GfpFlags::__GFP_ZERO
    .union(GfpFlags::__GFP_HIGHMEM)
    .union(GfpFlags::__GFP_DMA32)
    .union(GfpFlags::__GFP_MOVABLE);

impl<'p, M: Machine> Slabs<'p, M> {
    /// Where the objects of a slab start.
    #[inline]
    pub(super) fn slab_base(&self, idx: FrameIdx) -> Option<NonNull<u8>> {
        self.machine().physmem().ptr(idx.pfn().addr())
    }

    /// A new slab in `place`, all its objects on its local list.
    pub(super) fn new_slab(
        &self,
        cache: &Cache,
        frames: &impl FrameAllocator<'p>,
        gfp: GfpFlags,
        place: Place,
    ) -> Result<FrameIdx, AllocError> {
        let ground = self.ground().ok_or(AllocError::NotBooted)?;
        let order = cache.geometry.order;
        let (pfn, _) = frames.alloc(gfp.difference(NOT_FOR_PAGES) | cache.gfp(), order)?.into_raw();
        let (idx, block) = ground.table.lookup(pfn).ok_or(AllocError::NotBooted)?;
        let base = self.slab_base(idx).ok_or(AllocError::OutOfMemory)?;
        frame::make_slab(&ground.table, idx, cache, place);
        // SAFETY: the block was allocated here, holds `objects` objects, and nobody else knows it.
        let first = unsafe {
            if cache.is_checked() {
                cache.prepare_checked(base);
            }
            cache.construct(base);
            cache.link_all(base.add(cache.geometry.red_left as usize), &ground.config)
        };
        SlabFrame::at(&ground.table, idx).local().set_freelist(first);
        cache.node(block.zone().node.index()).slabs.fetch_add(1, Relaxed);
        Ok(idx)
    }

    /// Gives the block of an empty slab, which is on no list, back. Where the memory of objects keeps its type, no
    /// reader is left that could look at it; if this code cannot wait for that, the slab goes on the list of its node.
    #[cold]
    pub(super) fn discard(&self, cache: &Cache, idx: FrameIdx) {
        if cache.flags.contains(SlabFlags::TYPESAFE_BY_RCU)
            && !planted("slab_rcu.goes_at_once")
            && !rcu::synchronize(self.machine().cpu(), cache.cpu_count)
        {
            self.put_on_node(cache, idx);
            return;
        }
        let order = cache.geometry.order;
        if let Some((_, block)) = cache.table.lookup(idx.pfn()) {
            cache.node(block.zone().node.index()).slabs.fetch_sub(1, Relaxed);
        }
        frame::clear(&cache.table, idx, order);
        // SAFETY: the block was allocated by `new_slab`, is on no list, and no object of it is in use. A refusal would
        // mean that it was freed behind our back; then it is not ours to give.
        let _ = self.phys.free_pages(unsafe { self.phys.frames_from_raw(idx.pfn(), order) });
    }
}

impl Cache {
    /// What its pages are asked for with.
    pub(super) fn gfp(&self) -> GfpFlags {
        let mut gfp = GfpFlags::empty();
        for (flag, wanted) in [
            (SlabFlags::CACHE_DMA, GfpFlags::__GFP_DMA),
            (SlabFlags::CACHE_DMA32, GfpFlags::__GFP_DMA32),
            (SlabFlags::RECLAIM_ACCOUNT, GfpFlags::__GFP_RECLAIMABLE),
        ] {
            if self.flags.contains(flag) {
                gfp |= wanted;
            }
        }
        gfp
    }

    /// Runs the constructor on every object of a slab whose block starts at `base`.
    ///
    /// # Safety
    /// The slab is this cache's and nobody else uses it.
    unsafe fn construct(&self, base: NonNull<u8>) {
        let Some(ctor) = self.ctor else { return };
        for n in 0..self.geometry.objects as usize {
            // SAFETY: object `n` lies in the slab.
            ctor(unsafe { base.add(n * self.geometry.size as usize + self.geometry.red_left as usize) });
        }
    }
}
