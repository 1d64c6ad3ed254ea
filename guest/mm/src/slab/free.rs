//! Objects back into a cache.
//!
//! Owns: the fast path, finding the slab of an address, and what becomes of a slab when an object comes back: the
//! first one makes this CPU the owner of a full slab, the last one may send it back to the page allocator.
//! Source: Linux `do_slab_free`, `__slab_free`, `put_cpu_partial` (`mm/slub.c`).

use super::Slabs;
use super::alloc::Site;
use super::cache::{Cache, Here, count};
use super::error::ObjectError;
use super::frame::{Held, SlabFrame, held};
use crate::addr::Order;
use crate::frame::{FrameIdx, FrameTable};
use crate::mutant::planted;
use crate::port::{Machine, PhysMem};
use crate::sync::{Freed, Place};
use core::panic::Location;
use core::ptr::NonNull;

/// An address in a slab or at a large object.
pub(super) enum Found<'t> {
    /// Offset in bytes from the start of a slab.
    Slab(SlabFrame<'t>, usize),
    Large(FrameIdx, Order),
}

impl<'p, M: Machine> Slabs<'p, M> {
    /// Frees an object of `cache` (Linux `kmem_cache_free`).
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is freed then.
    ///
    /// # Safety
    /// If `object` is one of `cache`, the caller owns it, and nobody uses it afterwards.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn free(&self, cache: &Cache, object: NonNull<u8>) -> Result<(), ObjectError> {
        let here = cache.here(self.machine().cpu());
        let part = here.part;
        let offset = object.as_ptr().addr().wrapping_sub(part.base.get().addr());
        let first = part.freelist.get();
        let twice = object.as_ptr().addr() == first && !planted("slab.freed_twice");
        let is_plain = offset & cache.misaligned == 0 && !twice;
        if offset < part.bytes.get() && is_plain {
            // SAFETY: the object lies in the active slab; the caller owned it, and now it is free.
            unsafe { cache.set_next(object, first) };
            part.freelist.set(object.as_ptr().addr());
            count(&part.frees);
            return Ok(());
        }
        drop(here);
        // SAFETY: promised by the caller.
        unsafe { self.free_slow(cache, object, Location::caller()) }
    }

    /// The object is not in this CPU's active slab, or something is wrong with it.
    ///
    /// # Safety
    /// As for [`Slabs::free`].
    #[inline(never)]
    unsafe fn free_slow(&self, cache: &Cache, object: NonNull<u8>, site: Site) -> Result<(), ObjectError> {
        let (slab, offset) = match find(&cache.table, self.machine(), object)? {
            Found::Slab(slab, offset) => (slab, offset),
            Found::Large(..) => return Err(ObjectError::NotAnObject(object.as_ptr().addr())),
        };
        if slab.cache_id() != cache.id && !planted("slab.any_cache_will_do") {
            return Err(self.wrong_cache(cache, slab, object));
        }
        // SAFETY: promised by the caller; the slab is one of this cache.
        unsafe { self.free_in(cache, slab, offset, object, site) }
    }

    /// Frees an object that lies `offset` bytes into `slab`, which is one of `cache`.
    ///
    /// # Safety
    /// As for [`Slabs::free`].
    #[inline]
    pub(super) unsafe fn free_in(
        &self,
        cache: &Cache,
        slab: SlabFrame<'_>,
        offset: usize,
        object: NonNull<u8>,
        site: Site,
    ) -> Result<(), ObjectError> {
        let at = object.as_ptr().addr();
        if cache.is_checked() {
            return self.free_checked(cache, slab, offset, object, site);
        }
        if !cache.is_start(offset) {
            return Err(ObjectError::NotAtStart(at));
        }
        if cache.zero_on_free {
            cache.zero(object);
        }
        let here = cache.here(self.machine().cpu());
        let part = here.part;
        let mut emptied = None;
        if slab.word().load().is(Place::Owned(here.cpu)) {
            let is_active = part.slab.get() == Some(slab.idx());
            let first = if is_active { part.freelist.get() } else { slab.freelist() };
            if first == at {
                return Err(ObjectError::DoubleFree { at, cache: cache.name });
            }
            // SAFETY: the caller owned the object, and now it is free.
            unsafe { cache.set_next(object, first) };
            if is_active {
                part.freelist.set(at);
            } else {
                slab.set_freelist(at);
                if slab.one_back() == 0 {
                    emptied = self.let_go_of_empty(cache, &here, slab);
                }
            }
        } else {
            emptied = self.free_shared(cache, &here, slab, offset, object)?;
        }
        count(&part.frees);
        drop(here);
        if let Some(idx) = emptied {
            self.discard(cache, idx);
        }
        Ok(())
    }

    /// Frees into a slab that this CPU does not own. Returns the slab if that was its last object in use, and enough
    /// empty ones are kept.
    fn free_shared(
        &self,
        cache: &Cache,
        here: &Here<'_, M::Cpu>,
        slab: SlabFrame<'_>,
        offset: usize,
        object: NonNull<u8>,
    ) -> Result<Option<FrameIdx>, ObjectError> {
        let at = object.as_ptr().addr();
        let base = object.as_ptr().wrapping_sub(offset);
        let freed = slab.word().free(here.cpu, (offset / size_of::<usize>()) as u32, |chain| {
            let next = if chain.count == 0 { 0 } else { cache.address_of(base, chain) };
            if next == at {
                return false;
            }
            // SAFETY: the caller owned the object, and it is on no list until the word says so.
            unsafe { cache.set_next(object, next) };
            true
        });
        match freed {
            Freed::Refused => Err(ObjectError::DoubleFree { at, cache: cache.name }),
            Freed::Claimed => {
                // SAFETY: the caller owned the object; the slab is this CPU's now.
                unsafe { cache.set_next(object, 0) };
                slab.set_freelist(at);
                slab.set_inuse(cache.geometry.objects);
                if slab.one_back() == 0 && here.part.partial_count.get() >= cache.cpu_empty_max {
                    return Ok(Some(slab.idx()));
                }
                self.keep(cache, here, slab.idx());
                Ok(None)
            }
            Freed::Pushed(word) if word.is(Place::Node) && word.chain().count == slab.inuse() => {
                Ok(self.take_empty(cache, slab))
            }
            Freed::Pushed(_) => Ok(None),
        }
    }

    /// Puts a slab that this CPU owns among those it keeps; too many of them go to their nodes.
    pub(super) fn keep(&self, cache: &Cache, here: &Here<'_, M::Cpu>, idx: FrameIdx) {
        let part = here.part;
        // SAFETY: the list is this CPU's, interrupts are masked, and this is the only reference.
        unsafe { &mut *part.partial.get() }.push_front(&cache.table, idx);
        part.partial_count.set(part.partial_count.get() + 1);
        if part.partial_count.get() > cache.cpu_partial_max {
            self.spill(cache, here, cache.cpu_partial_max / 2);
        }
    }

    /// A slab that this CPU keeps has become empty: takes it off the list unless there are few.
    #[cold]
    fn let_go_of_empty(
        &self,
        cache: &Cache,
        here: &Here<'_, M::Cpu>,
        slab: SlabFrame<'_>,
    ) -> Option<FrameIdx> {
        let part = here.part;
        if part.partial_count.get() <= cache.cpu_empty_max {
            return None;
        }
        // SAFETY: as in `keep`.
        unsafe { &mut *part.partial.get() }.remove(&cache.table, slab.idx());
        part.partial_count.set(part.partial_count.get() - 1);
        Some(slab.idx())
    }

    /// Whoever saw the last object come back to a slab of a node takes the slab out, unless it has found another
    /// user or enough are kept. The slab may have changed since, so everything is looked at again under the lock.
    #[cold]
    fn take_empty(&self, cache: &Cache, slab: SlabFrame<'_>) -> Option<FrameIdx> {
        let (idx, block) = cache.table.lookup(slab.idx().pfn())?;
        let mut partial = cache.node(block.zone().node.index()).lock(self.machine().cpu());
        let Held::Slab(slab, 0) = held(&cache.table, idx) else { return None };
        let word = slab.word().load();
        let is_empty = word.is(Place::Node) && word.chain().count == slab.inuse();
        if slab.cache_id() != cache.id || !is_empty || partial.count() <= u64::from(cache.min_partial) {
            return None;
        }
        partial.remove(&cache.table, idx);
        Some(idx)
    }

    #[cold]
    fn wrong_cache(&self, cache: &Cache, slab: SlabFrame<'_>, object: NonNull<u8>) -> ObjectError {
        let at = object.as_ptr().addr();
        match self.cache_of(slab) {
            Some(found) => ObjectError::WrongCache { at, asked: cache.name, found: found.name },
            None => ObjectError::NotAnObject(at),
        }
    }
}

/// What lies at an address.
#[inline]
pub(super) fn find<'t, M: Machine>(
    table: &'t FrameTable,
    machine: &M,
    object: NonNull<u8>,
) -> Result<Found<'t>, ObjectError> {
    let nothing = ObjectError::NotAnObject(object.as_ptr().addr());
    let Some(addr) = machine.physmem().addr_of(object) else { return Err(nothing) };
    let Some((idx, _)) = table.lookup(addr.pfn()) else { return Err(nothing) };
    match held(table, idx) {
        Held::Slab(slab, behind) => {
            Ok(Found::Slab(slab, (behind as usize) << crate::addr::PAGE_SHIFT | addr.page_offset() as usize))
        }
        Held::Large(idx, order) if addr.page_offset() == 0 => Ok(Found::Large(idx, order)),
        Held::Large(..) => Err(ObjectError::NotAtStart(object.as_ptr().addr())),
        Held::Nothing => Err(nothing),
    }
}

impl Cache {
    /// Which object of a slab starts at `offset` bytes, if one does.
    #[inline(always)]
    pub(super) fn object_at(&self, offset: usize) -> Option<u32> {
        if offset >= self.geometry.used_bytes() {
            return None;
        }
        // Exact for offsets where an object starts; for all others the product below differs.
        let n = (offset as u64 * self.reciprocal) >> 32;
        let exact = n * u64::from(self.geometry.size) == offset as u64;
        (exact || planted("slab.frees_the_middle")).then_some(n as u32)
    }

    #[inline(always)]
    fn is_start(&self, offset: usize) -> bool {
        self.object_at(offset).is_some()
    }
}
