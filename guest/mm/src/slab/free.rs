//! Objects back into a cache.
//!
//! Owns: the fast path, finding the slab of an address, and what becomes of a slab when an object comes back: the
//! first one makes this CPU the owner of a full slab, the last one may send it back to the page allocator.
//! Source: Linux `do_slab_free`, `__slab_free`, `put_cpu_partial` (`mm/slub.c`).

use super::Slabs;
use super::alloc::Site;
use super::cache::{Cache, CpuSlab, Here, count};
use super::error::ObjectError;
use super::frame::{Held, SlabFrame, held};
use super::list::set_next_plain;
use crate::addr::{Order, PAGE_SHIFT};
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
    /// The first frame, the order, and the offset in bytes from the start of that frame.
    Large(FrameIdx, Order, usize),
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
        if offset < part.bytes.get() as usize && cache.is_multiple(offset) {
            // SAFETY: the object lies in the active slab; the caller owned it, and now it is free. So is the one at hand.
            return self
                .free_active(cache, here, object, |object, next| unsafe { cache.set_next(object, next) });
        }
        // SAFETY: promised by the caller.
        unsafe { self.free_elsewhere(cache, here, object, Location::caller()) }
    }

    /// The object is not in this CPU's active slab, or something is wrong with it.
    ///
    /// # Safety
    /// As for [`Slabs::free`].
    #[inline(always)]
    unsafe fn free_elsewhere(
        &self,
        cache: &Cache,
        here: Here<'_, M::Cpu>,
        object: NonNull<u8>,
        site: Site,
    ) -> Result<(), ObjectError> {
        // A slab is a block aligned to its size, so any address in it finds its head.
        let Some(addr) = self.machine().physmem().addr_of(object) else {
            return self.not_of(cache, here, object);
        };
        let Some((idx, _)) = cache.table.lookup(addr.align_down(cache.slab_mask as u64).pfn()) else {
            return self.not_of(cache, here, object);
        };
        let slab = SlabFrame::at(&cache.table, idx);
        if !slab.has_mark(cache.mark) && !planted("slab.any_cache_will_do") {
            return self.not_of(cache, here, object);
        }
        if addr.get() as usize & cache.misaligned != 0 {
            let offset = addr.get() as usize & cache.slab_mask;
            // SAFETY: promised by the caller; the slab is one of this cache.
            return unsafe { self.free_with_care(cache, here, slab, offset, object, site) };
        }
        // SAFETY: promised by the caller; an object of this cache starts there.
        self.free_owned(cache, here, slab, object, |object, next| unsafe { cache.set_next(object, next) })
    }

    /// Frees an object that lies `offset` bytes into `slab`, which is one of `cache`.
    ///
    /// # Safety
    /// As for [`Slabs::free`].
    #[inline(always)]
    pub(super) unsafe fn free_in(
        &self,
        cache: &Cache,
        here: Here<'_, M::Cpu>,
        slab: SlabFrame<'_>,
        offset: usize,
        object: NonNull<u8>,
        site: Site,
    ) -> Result<(), ObjectError> {
        if cache.is_unusual || !cache.is_start(offset) {
            return self.free_unusual(cache, here, slab, offset, object, site);
        }
        // SAFETY: promised by the caller; an object of this cache starts there.
        self.free_sound(cache, here, slab, object, |object, next| unsafe { cache.set_next(object, next) })
    }

    /// As [`Slabs::free_in`], for cases that are not worth a place in every caller.
    ///
    /// # Safety
    /// As for [`Slabs::free`].
    #[inline(never)]
    unsafe fn free_with_care(
        &self,
        cache: &Cache,
        here: Here<'_, M::Cpu>,
        slab: SlabFrame<'_>,
        offset: usize,
        object: NonNull<u8>,
        site: Site,
    ) -> Result<(), ObjectError> {
        // SAFETY: promised by the caller.
        unsafe { self.free_in(cache, here, slab, offset, object, site) }
    }

    /// The object is checked or zeroed, its place is not used again, or none starts there.
    #[cold]
    #[inline(never)]
    fn free_unusual(
        &self,
        cache: &Cache,
        here: Here<'_, M::Cpu>,
        slab: SlabFrame<'_>,
        offset: usize,
        object: NonNull<u8>,
        site: Site,
    ) -> Result<(), ObjectError> {
        if cache.is_checked() {
            drop(here);
            return self.free_checked(cache, slab, offset, object, site);
        }
        if !cache.is_start(offset) {
            return Err(ObjectError::NotAtStart(object.as_ptr().addr()));
        }
        if cache.zero_on_free {
            cache.zero(object);
        }
        if !cache.reuses {
            // Nobody allocates from the chain of such a cache.
            return self.free_shared(cache, here, slab, object);
        }
        // SAFETY: promised by the caller; an object of this cache starts there.
        self.free_owned(cache, here, slab, object, |object, next| unsafe { cache.set_next(object, next) })
    }

    /// Frees an object of a plain slab (`frame::plain`).
    ///
    /// # Safety
    /// As for [`Slabs::free`]; an object of the slab starts there.
    #[inline(always)]
    pub(super) unsafe fn free_plain(
        &self,
        cache: &Cache,
        slab: SlabFrame<'_>,
        object: NonNull<u8>,
    ) -> Result<(), ObjectError> {
        let here = cache.here(self.machine().cpu());
        // SAFETY: promised by the caller.
        let link = |object, next| unsafe { set_next_plain(object, next) };
        self.free_sound(cache, here, slab, object, link)
    }

    /// Frees an object of a slab, which needs no more care. `link` links a free object of the cache to another of its
    /// slab, or to none.
    #[inline(always)]
    fn free_sound(
        &self,
        cache: &Cache,
        here: Here<'_, M::Cpu>,
        slab: SlabFrame<'_>,
        object: NonNull<u8>,
        link: impl FnOnce(NonNull<u8>, usize),
    ) -> Result<(), ObjectError> {
        if here.part.is_active(slab) {
            self.free_active(cache, here, object, link)
        } else {
            self.free_owned(cache, here, slab, object, link)
        }
    }

    /// As [`Slabs::free_sound`] for what is not in the active slab: with plain accesses if this CPU owns the slab.
    #[inline(always)]
    fn free_owned(
        &self,
        cache: &Cache,
        here: Here<'_, M::Cpu>,
        slab: SlabFrame<'_>,
        object: NonNull<u8>,
        link: impl FnOnce(NonNull<u8>, usize),
    ) -> Result<(), ObjectError> {
        if !slab.word().load().has_tag(here.part.tag) {
            return self.free_shared(cache, here, slab, object);
        }
        let first = slab.local().freelist();
        if first == object.as_ptr().addr() {
            drop(here);
            return double_free(cache, object);
        }
        count(&here.part.frees);
        if slab.local().push(object, first, link) {
            self.let_go_of_empty(cache, here, slab);
        }
        Ok(())
    }

    /// Takes an object of the active slab in hand, and lists the one that was.
    #[inline(always)]
    fn free_active(
        &self,
        cache: &Cache,
        here: Here<'_, M::Cpu>,
        object: NonNull<u8>,
        link: impl FnOnce(NonNull<u8>, usize),
    ) -> Result<(), ObjectError> {
        let part = here.part;
        let (local, before) = (part.local(), part.hand());
        let first = local.freelist();
        let is_free = first == object.as_ptr().addr() || before == Some(object);
        if is_free && !planted("slab.freed_twice") {
            drop(here);
            return double_free(cache, object);
        }
        count(&part.frees);
        part.set_hand(object);
        if let Some(before) = before {
            // Never the last one of an active slab.
            let _ = local.push(before, first, link);
        }
        Ok(())
    }

    /// Puts what is at hand on the list of its slab.
    pub(super) fn clear_hand(&self, cache: &Cache, part: &CpuSlab) {
        if let Some(object) = part.take_hand() {
            let local = part.local();
            // SAFETY: what is at hand is free, and its slab is the active one.
            let link = |object, next| unsafe { cache.set_next(object, next) };
            let _ = local.push(object, local.freelist(), link);
        }
    }

    /// Frees into a slab that this CPU does not own.
    #[inline(never)]
    fn free_shared(
        &self,
        cache: &Cache,
        here: Here<'_, M::Cpu>,
        slab: SlabFrame<'_>,
        object: NonNull<u8>,
    ) -> Result<(), ObjectError> {
        let at = object.as_ptr().addr();
        // The direct map is as aligned as the largest block of frames.
        let offset = at & cache.slab_mask;
        let base = object.as_ptr().wrapping_sub(offset);
        let freed = slab.word().free(here.part.cpu(), (offset / size_of::<usize>()) as u32, |chain| {
            let next = if chain.count == 0 { 0 } else { cache.address_of(base, chain) };
            if next == at {
                return false;
            }
            // SAFETY: the caller owned the object, and it is on no list until the word says so.
            unsafe { cache.set_next(object, next) };
            true
        });
        let mut emptied = None;
        match freed {
            Freed::Refused => return double_free(cache, object),
            Freed::Claimed => {
                // SAFETY: the caller owned the object; the slab is this CPU's now.
                unsafe { cache.set_next(object, 0) };
                slab.local().set_freelist(at);
                slab.set_inuse(cache.geometry.objects);
                if slab.local().one_back() && here.part.partial_count.get() >= cache.cpu_empty_max {
                    emptied = Some(slab.idx());
                } else {
                    self.keep(cache, &here, slab.idx());
                }
            }
            Freed::Pushed(word) if word.is(Place::Node) && word.chain().count == slab.inuse() => {
                emptied = self.take_empty(cache, slab);
            }
            Freed::Pushed(_) => {}
        }
        count(&here.part.frees);
        drop(here);
        if let Some(idx) = emptied {
            self.discard(cache, idx);
        }
        Ok(())
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

    /// A slab that this CPU keeps has become empty: gives it back unless there are few.
    #[cold]
    #[inline(never)]
    fn let_go_of_empty(&self, cache: &Cache, here: Here<'_, M::Cpu>, slab: SlabFrame<'_>) {
        let part = here.part;
        if part.partial_count.get() <= cache.cpu_empty_max {
            return;
        }
        // SAFETY: as in `keep`.
        unsafe { &mut *part.partial.get() }.remove(&cache.table, slab.idx());
        part.partial_count.set(part.partial_count.get() - 1);
        drop(here);
        self.discard(cache, slab.idx());
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

    /// Says what is wrong with an object that is not one of `cache`.
    #[cold]
    #[inline(never)]
    fn not_of(&self, cache: &Cache, here: Here<'_, M::Cpu>, object: NonNull<u8>) -> Result<(), ObjectError> {
        drop(here);
        let at = object.as_ptr().addr();
        let other = match find(&cache.table, self.machine(), object) {
            Some(Found::Slab(slab, _)) => self.cache_of(slab),
            Some(Found::Large(..)) | None => None,
        };
        Err(match other {
            Some(other) => ObjectError::WrongCache { at, asked: cache.name, found: other.name },
            None => ObjectError::NotAnObject(at),
        })
    }
}

#[cold]
#[inline(never)]
fn double_free(cache: &Cache, object: NonNull<u8>) -> Result<(), ObjectError> {
    Err(ObjectError::DoubleFree { at: object.as_ptr().addr(), cache: cache.name })
}

/// What lies at an address, if it is something of the slab allocator's.
#[inline(always)]
pub(super) fn find<'t, M: Machine>(
    table: &'t FrameTable,
    machine: &M,
    object: NonNull<u8>,
) -> Option<Found<'t>> {
    let addr = machine.physmem().addr_of(object)?;
    let (idx, _) = table.lookup(addr.pfn())?;
    let offset = addr.page_offset() as usize;
    match held(table, idx) {
        Held::Slab(slab, behind) => Some(Found::Slab(slab, (behind as usize) << PAGE_SHIFT | offset)),
        Held::Large(idx, order) => Some(Found::Large(idx, order, offset)),
        Held::Nothing => None,
    }
}

impl Cache {
    /// Which object of a slab starts at `offset` bytes, if one does.
    #[inline(always)]
    pub(super) fn object_at(&self, offset: usize) -> Option<u32> {
        let is_start = offset < self.used_bytes && self.is_multiple(offset);
        is_start.then(|| ((offset as u64 * self.reciprocal) >> 32) as u32)
    }

    /// Whether an offset of at most 32 bits is a multiple of the size. The product is the fractional part of their
    /// quotient, in units of 2^-64 and off by less than `inverse`; that of any other offset is at least that (Lemire,
    /// Kaser, Kurz: Faster remainder by direct computation, 2019).
    #[inline(always)]
    fn is_multiple(&self, offset: usize) -> bool {
        (offset as u64).wrapping_mul(self.inverse) < self.inverse || planted("slab.frees_the_middle")
    }

    #[inline(always)]
    fn is_start(&self, offset: usize) -> bool {
        self.object_at(offset).is_some()
    }
}
