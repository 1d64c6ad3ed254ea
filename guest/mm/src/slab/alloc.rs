//! Objects out of a cache.
//!
//! Owns: the fast path, and where a CPU finds its next free objects: what others have freed into its active slab,
//! then the slabs that it keeps, then those of its node, then a new slab, and when there is no memory for one the
//! slabs of other CPUs, which hand theirs over if the caller may wait for that, and of other nodes. Invariants: the
//! frames come from the caller's allocator, which may sleep, so no interrupt is masked while it is asked. Source: Linux `slab_alloc_node`, `___slab_alloc` (`mm/slub.c`).

use super::cache::{Cache, CpuSlab, Here, count};
use super::frame::SlabFrame;
use super::{SlabFlags, Slabs};
use crate::addr::NodeId;
use crate::frame::FrameIdx;
use crate::mutant::planted;
use crate::phys::{AllocError, FrameAllocator, GfpFlags};
use crate::port::{Cpu, Machine};
use crate::sync::{Chain, Place};
use core::panic::Location;
use core::ptr::NonNull;

/// Who asks: the line of code.
pub(super) type Site = &'static Location<'static>;

impl<'p, M: Machine> Slabs<'p, M> {
    /// Allocates an object of `cache` (Linux `kmem_cache_alloc`). `frames` supplies new slabs.
    ///
    /// # Errors
    /// [`AllocError`].
    #[inline(always)]
    #[track_caller]
    pub fn alloc(
        &self,
        cache: &Cache,
        frames: &impl FrameAllocator<'p>,
        gfp: GfpFlags,
    ) -> Result<NonNull<u8>, AllocError> {
        let Some(object) = self.pop_here(cache) else {
            let mut error = AllocError::OutOfMemory;
            return self.alloc_outside(cache, frames, gfp, Location::caller(), &mut error).ok_or(error);
        };
        if cache.zero_on_alloc || gfp.contains(GfpFlags::__GFP_ZERO) {
            return Ok(cache.zeroed(object));
        }
        Ok(object)
    }

    /// Takes an object that this CPU has, unless allocations may fail on purpose.
    #[inline(always)]
    fn pop_here(&self, cache: &Cache) -> Option<NonNull<u8>> {
        if self.phys.are_failures_on() {
            return None;
        }
        let here = cache.here(self.machine().cpu());
        let object = cache.pop(here.part)?;
        count(&here.part.allocs);
        Some(object)
    }

    /// As [`Slabs::alloc_slow`], with the error apart: then what comes back fits a register, and the caller's result
    /// needs no memory.
    #[cold]
    #[inline(never)]
    fn alloc_outside(
        &self,
        cache: &Cache,
        frames: &impl FrameAllocator<'p>,
        gfp: GfpFlags,
        site: Site,
        error: &mut AllocError,
    ) -> Option<NonNull<u8>> {
        self.alloc_slow(cache, frames, gfp, site).map_err(|why| *error = why).ok()
    }

    /// Whether this allocation fails on purpose.
    #[cold]
    fn fails(&self, cache: &Cache, gfp: GfpFlags) -> bool {
        let marked = cache.flags.contains(SlabFlags::FAILSLAB);
        self.phys.should_failslab(gfp, cache.geometry.object_size, marked)
    }

    /// There is nothing on this CPU's list, or the allocation may fail on purpose.
    fn alloc_slow(
        &self,
        cache: &Cache,
        frames: &impl FrameAllocator<'p>,
        gfp: GfpFlags,
        site: Site,
    ) -> Result<NonNull<u8>, AllocError> {
        if self.phys.are_failures_on() && self.fails(cache, gfp) {
            return Err(AllocError::OutOfMemory);
        }
        if cache.is_checked() {
            return self.alloc_checked(cache, frames, gfp, site);
        }
        let cpu = self.machine().cpu();
        let mut fresh = None;
        let mut failed = None;
        let object = loop {
            let here = cache.here(cpu);
            // An interrupt may have brought objects meanwhile.
            let found = cache.pop(here.part).or_else(|| {
                self.refill(cache, &here, &mut fresh, failed.is_some()).then(|| cache.pop(here.part))?
            });
            if let Some(object) = found {
                count(&here.part.allocs);
                count(&here.part.slow);
                if let Some(idx) = fresh {
                    self.keep(cache, &here, idx);
                }
                break object;
            }
            let owner = Place::Owned(here.part.cpu());
            drop(here);
            if let Some(error) = failed {
                return Err(error);
            }
            match self.new_slab(cache, frames, gfp, owner) {
                Ok(idx) => fresh = Some(idx),
                Err(error) => {
                    if gfp.contains(GfpFlags::__GFP_DIRECT_RECLAIM) {
                        self.flush_all(cache);
                    }
                    failed = Some(error);
                }
            }
        };
        if cache.zero_on_alloc || gfp.contains(GfpFlags::__GFP_ZERO) {
            cache.zero(object);
        }
        Ok(object)
    }

    /// Finds this CPU, whose list is empty, an active slab with free objects. `fresh` is a new slab, `anywhere` says
    /// that there will be none.
    fn refill(
        &self,
        cache: &Cache,
        here: &Here<'_, M::Cpu>,
        fresh: &mut Option<FrameIdx>,
        anywhere: bool,
    ) -> bool {
        let part = here.part;
        if !cache.reuses {
            return self.refill_unused(cache, part, fresh);
        }
        if let Some(slab) = part.take_active(&cache.table) {
            loop {
                let chain = slab.word().take_chain();
                if chain.count != 0 {
                    slab.adopt(cache.address_of(part.base.get(), chain), chain);
                    return self.activate(cache, part, slab.idx());
                }
                if slab.word().retire(part.cpu()) {
                    break;
                }
            }
        }
        let next = fresh
            .take()
            .or_else(|| cache.take_kept(part))
            .or_else(|| self.take_partial(cache, here, self.local_node()))
            .or_else(|| anywhere.then(|| self.take_anywhere(cache, here))?);
        next.is_some_and(|idx| self.activate(cache, part, idx))
    }

    /// As [`Slabs::refill`], without places that were used before: what was freed in the slab that is used up stays
    /// there, on its chain, until all of it is.
    #[cold]
    fn refill_unused(&self, cache: &Cache, part: &CpuSlab, fresh: &mut Option<FrameIdx>) -> bool {
        if let Some(slab) = part.take_active(&cache.table) {
            self.hand_to_node(cache, slab.idx());
        }
        let next = fresh.take().or_else(|| cache.take_kept(part));
        next.is_some_and(|idx| self.activate(cache, part, idx))
    }

    /// The node of the running CPU.
    pub(super) fn local_node(&self) -> usize {
        let node = self.phys.topology().map(|topology| topology.node_of(self.machine().cpu().id()));
        node.unwrap_or(NodeId::ZERO).index()
    }

    /// Makes a slab that this CPU owns, and that is on no list, its active one. False if no object is free.
    fn activate(&self, cache: &Cache, part: &CpuSlab, idx: FrameIdx) -> bool {
        let slab = SlabFrame::at(&cache.table, idx);
        let Some(base) = self.slab_base(idx) else { return false };
        if slab.local().freelist() == 0 {
            let chain = slab.word().take_chain();
            if chain.count != 0 {
                slab.adopt(cache.address_of(base.as_ptr(), chain), chain);
            }
        }
        // Where frees are unusual they all take the long way.
        part.set_active(slab, base, if cache.is_unusual { 0 } else { cache.used_bytes as u32 });
        slab.local().freelist() != 0
    }

    /// Takes a slab off the list of a node.
    fn take_partial(&self, cache: &Cache, here: &Here<'_, M::Cpu>, node: usize) -> Option<FrameIdx> {
        let part = cache.node(node);
        if part.partial_count() == 0 {
            return None;
        }
        let mut partial = part.lock(self.machine().cpu());
        let idx = partial.first()?;
        partial.remove(&cache.table, idx);
        SlabFrame::at(&cache.table, idx).word().hand_to(Place::Owned(here.part.cpu()));
        Some(idx)
    }

    fn take_anywhere(&self, cache: &Cache, here: &Here<'_, M::Cpu>) -> Option<FrameIdx> {
        (0..cache.node_count as usize).find_map(|node| self.take_partial(cache, here, node))
    }
}

impl Cache {
    /// Takes the object at hand, or the first one of this CPU's list.
    #[inline(always)]
    fn pop(&self, part: &CpuSlab) -> Option<NonNull<u8>> {
        if let Some(object) = part.take_hand() {
            return Some(object);
        }
        let local = part.local();
        let object = NonNull::new(part.base.get().with_addr(local.freelist()))?;
        // SAFETY: what is on the list is free, and the list is this CPU's with interrupts masked.
        local.set_freelist(unsafe { self.next(object) });
        local.one_out();
        Some(object)
    }

    /// The address of the first object of a chain, in a slab that starts at `base`.
    pub(super) fn address_of(&self, base: *mut u8, chain: Chain) -> usize {
        base.addr() + chain.first as usize * size_of::<usize>()
    }

    /// Takes a slab that this CPU keeps.
    fn take_kept(&self, part: &CpuSlab) -> Option<FrameIdx> {
        // SAFETY: the list is this CPU's, with interrupts masked by the caller, and this is the only reference.
        let list = unsafe { &mut *part.partial.get() };
        let idx = list.first()?;
        list.remove(&self.table, idx);
        part.partial_count.set(part.partial_count.get() - 1);
        Some(idx)
    }

    /// An object that was just allocated, zeroed.
    #[inline(never)]
    fn zeroed(&self, object: NonNull<u8>) -> NonNull<u8> {
        self.zero(object);
        object
    }

    /// Zeroes an object that was just allocated or is just being freed.
    #[inline]
    pub(super) fn zero(&self, object: NonNull<u8>) {
        // A constructed object, or one that keeps its type, has content that must stay.
        if self.ctor.is_some() || self.flags.contains(SlabFlags::TYPESAFE_BY_RCU) {
            return;
        }
        // SAFETY: the object is the caller's alone and has that many bytes.
        unsafe {
            object.write_bytes(
                0,
                self.geometry.object_size as usize - usize::from(planted("slab.zeroes_too_little")),
            )
        }
    }
}
