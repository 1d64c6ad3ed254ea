//! `kmalloc`: size classes for objects without a cache of their own, and blocks of pages for large ones.
//!
//! Owns: which class serves a size, and the names of the classes. Invariants: an object of a power of two is aligned
//! to its size; every size up to 8 KiB has a class; larger ones are blocks that their first frame marks.
//! Source: Linux `mm/slab_common.c` (`kmalloc_info`, `setup_kmalloc_cache_index_table`, `__do_krealloc`), 6.18.

use super::alloc::Site;
use super::cache::Cache;
use super::error::ObjectError;
use super::frame;
use super::free::{Found, find};
use super::{CacheRequest, CreateError, Ground, SlabFlags, Slabs};
use crate::addr::{Order, PAGE_SIZE};
use crate::frame::FrameIdx;
use crate::mutant::planted;
use crate::phys::{AllocError, FrameAllocator, GfpFlags};
use crate::port::{Machine, PhysMem};
use core::num::NonZeroUsize;
use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The largest size `kmalloc` serves in bytes: the largest block of pages.
pub const KMALLOC_MAX: usize = (Order::MAX.pages() * PAGE_SIZE) as usize;
/// The largest size that comes from a size class.
const MAX_CACHED: usize = 8 << 10;
const CLASSES: usize = 14;
/// The largest size that is small.
const SMALL: usize = 1 << 10;
/// Size of a machine word in bytes.
const WORD: usize = size_of::<usize>();

/// What an allocation of 0 bytes returns: an address that nobody may touch and that can be freed.
pub const ZERO_SIZE_PTR: NonNull<u8> = NonNull::without_provenance(NonZeroUsize::MIN.saturating_add(15));

/// Which family of size classes an allocation comes from (Linux `enum kmalloc_cache_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum KmallocType {
    /// Kernel data.
    Normal,
    /// Data of caches that can be dropped (`__GFP_RECLAIMABLE`).
    Reclaimable,
    /// Memory for devices that address 24 bits (`__GFP_DMA`).
    Dma,
    /// Data charged to a control group (`__GFP_ACCOUNT`).
    Cgroup,
}

impl KmallocType {
    /// Every family, in the order in which Linux makes them.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Reclaimable, Self::Dma, Self::Cgroup];

    /// The family that `gfp` asks for: DMA first, then reclaimable, then accounted.
    #[inline(always)]
    #[must_use]
    pub const fn of(gfp: GfpFlags) -> Self {
        if gfp.contains(GfpFlags::__GFP_DMA) {
            Self::Dma
        } else if gfp.contains(GfpFlags::__GFP_RECLAIMABLE) {
            Self::Reclaimable
        } else if gfp.contains(GfpFlags::__GFP_ACCOUNT) {
            Self::Cgroup
        } else {
            Self::Normal
        }
    }

    const fn flags(self) -> SlabFlags {
        match self {
            Self::Normal => SlabFlags::empty(),
            Self::Reclaimable => SlabFlags::RECLAIM_ACCOUNT,
            Self::Dma => SlabFlags::CACHE_DMA,
            Self::Cgroup => SlabFlags::ACCOUNT,
        }
    }
}

/// The classes of each family: at the logarithm of the size from 3 to 13, at 1 that of 96 bytes, at 2 that of 192.
pub(super) struct SizeClasses {
    families: [[AtomicPtr<Cache>; CLASSES]; KmallocType::ALL.len()],
    /// The classes of small kernel data once more, by words: what most ask for is found with one load.
    small: [AtomicPtr<Cache>; SMALL / WORD + 1],
}

impl SizeClasses {
    pub(super) const fn empty() -> Self {
        Self {
            families: [const { [const { AtomicPtr::new(core::ptr::null_mut()) }; CLASSES] };
                KmallocType::ALL.len()],
            small: [const { AtomicPtr::new(core::ptr::null_mut()) }; SMALL / WORD + 1],
        }
    }
}

impl SizeClasses {
    /// Where the class of a size is.
    #[inline(always)]
    fn of(&self, family: KmallocType, size: usize) -> Option<&AtomicPtr<Cache>> {
        let size = if size == 97 && planted("slab.class_too_small") { 96 } else { size };
        match family {
            KmallocType::Normal if size <= SMALL => self.small.get(size.div_ceil(WORD)),
            _ => self.any(family, size),
        }
    }

    /// The same by way of the table of classes.
    #[inline(always)]
    fn any(&self, family: KmallocType, size: usize) -> Option<&AtomicPtr<Cache>> {
        self.families.get(family as usize)?.get(class_of(size)?)
    }
}

const NAMES: [[&str; CLASSES]; KmallocType::ALL.len()] = {
    macro_rules! names {
        ($head:literal) => {
            [
                "",
                concat!($head, "96"),
                concat!($head, "192"),
                concat!($head, "8"),
                concat!($head, "16"),
                concat!($head, "32"),
                concat!($head, "64"),
                concat!($head, "128"),
                concat!($head, "256"),
                concat!($head, "512"),
                concat!($head, "1k"),
                concat!($head, "2k"),
                concat!($head, "4k"),
                concat!($head, "8k"),
            ]
        };
    }
    [names!("kmalloc-"), names!("kmalloc-rcl-"), names!("dma-kmalloc-"), names!("kmalloc-cg-")]
};

/// The class of every size, by its words; 0, which is none, for none.
static CLASS_OF_WORDS: [u8; MAX_CACHED / WORD + 1] = {
    let mut classes = [0; MAX_CACHED / WORD + 1];
    let (mut rest, mut size) = (classes.as_mut_slice(), 0_usize);
    while let Some((class, more)) = rest.split_first_mut() {
        *class = match size {
            0 => 0,
            65..=96 => 1,
            129..=192 => 2,
            _ => size.next_power_of_two().trailing_zeros() as u8,
        };
        (rest, size) = (more, size + WORD);
    }
    classes
};

/// Which class serves `size`; `None` above [`MAX_CACHED`].
#[inline(always)]
fn class_of(size: usize) -> Option<usize> {
    // Sizes that wrap are too large for everything: none serves them either.
    Some((*CLASS_OF_WORDS.get(size.wrapping_add(WORD - 1) / WORD)?).into())
}

const fn class_bytes(class: usize) -> u32 {
    match class {
        1 => 96,
        2 => 192,
        _ => 1 << class,
    }
}

impl<'p, M: Machine> Slabs<'p, M> {
    pub(super) fn boot_kmalloc(&self, frames: &impl FrameAllocator<'p>) -> Result<(), CreateError> {
        for family in KmallocType::ALL {
            for class in 1..CLASSES {
                let size = class_bytes(class);
                let name = NAMES.get(family as usize).and_then(|names| names.get(class)).unwrap_or(&"");
                let request = CacheRequest {
                    name,
                    size,
                    align: if size.is_power_of_two() { size.min(PAGE_SIZE as u32) } else { 0 },
                    flags: family.flags() | SlabFlags::KMALLOC,
                    ctor: None,
                };
                let cache = self.create_own(&request, frames)?;
                if let Some(slot) = self.classes.families.get(family as usize).and_then(|row| row.get(class))
                {
                    slot.store(core::ptr::from_ref(cache).cast_mut(), Ordering::Release);
                }
            }
        }
        for (words, slot) in self.classes.small.iter().enumerate() {
            if let Some(class) = self.classes.any(KmallocType::Normal, words * WORD) {
                slot.store(class.load(Ordering::Relaxed), Ordering::Release);
            }
        }
        Ok(())
    }

    /// The size class that serves `size` bytes; `None` for none and for more than 8 KiB.
    #[inline(always)]
    pub fn kmalloc_cache(&self, size: usize, gfp: GfpFlags) -> Option<&Cache> {
        let cache = NonNull::new(self.classes.of(KmallocType::of(gfp), size)?.load(Ordering::Relaxed))?;
        // SAFETY: the classes are complete when they are stored, at boot, and are never destroyed.
        Some(unsafe { cache.as_ref() })
    }

    /// Allocates `size` bytes that are contiguous in physical memory (Linux `kmalloc`); [`ZERO_SIZE_PTR`] for none.
    ///
    /// # Errors
    /// [`AllocError::BadSize`] for more than [`KMALLOC_MAX`], or the error of the page allocator.
    #[inline(always)]
    #[track_caller]
    pub fn kmalloc(
        &self,
        frames: &impl FrameAllocator<'p>,
        size: usize,
        gfp: GfpFlags,
    ) -> Result<NonNull<u8>, AllocError> {
        match self.kmalloc_cache(size, gfp) {
            Some(cache) => self.alloc(cache, frames, gfp),
            None => self.kmalloc_large(frames, size, gfp),
        }
    }

    #[cold]
    #[inline(never)]
    fn kmalloc_large(
        &self,
        frames: &impl FrameAllocator<'p>,
        size: usize,
        gfp: GfpFlags,
    ) -> Result<NonNull<u8>, AllocError> {
        let ground = self.ground().ok_or(AllocError::NotBooted)?;
        if size == 0 {
            return Ok(ZERO_SIZE_PTR);
        }
        let order = Order::covering((size as u64).div_ceil(PAGE_SIZE)).ok_or(AllocError::BadSize)?;
        // An object needs an address.
        let gfp = gfp.difference(GfpFlags::__GFP_HIGHMEM | GfpFlags::__GFP_MOVABLE);
        let (pfn, _) = frames.alloc(gfp, order)?.into_raw();
        let (idx, _) = ground.table.lookup(pfn).ok_or(AllocError::NotBooted)?;
        frame::make_large(&ground.table, idx);
        self.count_large(idx, order, true);
        self.slab_base(idx).ok_or(AllocError::OutOfMemory)
    }

    /// As [`Slabs::kmalloc`], zeroed.
    ///
    /// # Errors
    /// As for [`Slabs::kmalloc`].
    #[inline(always)]
    #[track_caller]
    pub fn kzalloc(
        &self,
        frames: &impl FrameAllocator<'p>,
        size: usize,
        gfp: GfpFlags,
    ) -> Result<NonNull<u8>, AllocError> {
        self.kmalloc(frames, size, gfp | GfpFlags::__GFP_ZERO)
    }

    /// Zeroed memory for `n` things of `size` bytes (Linux `kcalloc`).
    ///
    /// # Errors
    /// As for [`Slabs::kmalloc`], also when the product overflows.
    #[track_caller]
    pub fn kcalloc(
        &self,
        frames: &impl FrameAllocator<'p>,
        n: usize,
        size: usize,
        gfp: GfpFlags,
    ) -> Result<NonNull<u8>, AllocError> {
        self.kzalloc(frames, n.checked_mul(size).ok_or(AllocError::BadSize)?, gfp)
    }

    /// Frees what any of the functions here, or [`Slabs::alloc`], has returned (Linux `kfree`). A null pointer is
    /// nothing to free.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is freed then.
    ///
    /// # Safety
    /// If there is an object at `object`, the caller owns it, and nobody uses it afterwards.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn kfree(&self, object: *mut u8) -> Result<(), ObjectError> {
        let Some(object) = NonNull::new(object) else { return Ok(()) };
        // SAFETY: promised by the caller.
        unsafe { self.kfree_at(object, Location::caller()) }
    }

    /// # Safety
    /// As for [`Slabs::kfree`].
    #[inline(always)]
    unsafe fn kfree_at(&self, object: NonNull<u8>, site: Site) -> Result<(), ObjectError> {
        let Some(ground) = self.ground() else { return Err(ObjectError::NotBooted) };
        let idx = self.machine().physmem().addr_of(object).and_then(|addr| ground.table.lookup(addr.pfn()));
        let slab = idx.and_then(|(idx, _)| frame::plain(&ground.table, idx, object.as_ptr().addr()));
        if let Some(slab) = slab
            && let Some(cache) = self.cache_of(slab)
        {
            // SAFETY: promised by the caller; the slab says that it is one of this cache and where objects start.
            return unsafe { self.free_plain(cache, slab, object) };
        }
        // SAFETY: promised by the caller.
        unsafe { self.kfree_with_care(ground, object, site) }
    }

    /// # Safety
    /// As for [`Slabs::kfree`].
    #[inline(never)]
    unsafe fn kfree_with_care(
        &self,
        ground: &Ground,
        object: NonNull<u8>,
        site: Site,
    ) -> Result<(), ObjectError> {
        match find(&ground.table, self.machine(), object) {
            Some(Found::Slab(slab, offset)) if let Some(cache) = self.cache_of(slab) => {
                let here = cache.here(self.machine().cpu());
                // SAFETY: promised by the caller; the slab says that it is one of this cache.
                unsafe { self.free_in(cache, here, slab, offset, object, site) }
            }
            // SAFETY: promised by the caller.
            Some(Found::Large(idx, order, 0)) => unsafe { self.free_large(idx, order, object) },
            Some(Found::Large(..)) => Err(ObjectError::NotAtStart(object.as_ptr().addr())),
            _ if object == ZERO_SIZE_PTR => Ok(()),
            _ => Err(ObjectError::NotAnObject(object.as_ptr().addr())),
        }
    }

    /// # Safety
    /// The large object is the caller's, and nobody uses it afterwards.
    #[cold]
    unsafe fn free_large(&self, idx: FrameIdx, order: Order, object: NonNull<u8>) -> Result<(), ObjectError> {
        let Some(ground) = self.ground() else { return Err(ObjectError::NotBooted) };
        frame::clear(&ground.table, idx, order);
        self.count_large(idx, order, false);
        // SAFETY: the block was marked by `kmalloc_large`, which owned it, and was the caller's.
        let block = unsafe { self.phys.frames_from_raw(idx.pfn(), order) };
        self.phys.free_pages(block).map_err(|_| ObjectError::NotAnObject(object.as_ptr().addr()))
    }

    /// Frees as [`Slabs::kfree`] does, and zeroes the bytes first (Linux `kfree_sensitive`).
    ///
    /// # Errors
    /// As for [`Slabs::kfree`].
    ///
    /// # Safety
    /// As for [`Slabs::kfree`].
    #[track_caller]
    pub unsafe fn kfree_sensitive(&self, object: *mut u8) -> Result<(), ObjectError> {
        let Some(at) = NonNull::new(object) else { return Ok(()) };
        let bytes = self.ksize(at)?;
        // SAFETY: the object is the caller's and has the bytes.
        unsafe {
            at.write_bytes(0, bytes);
            self.kfree(object)
        }
    }

    /// How many bytes may be used at `object` (Linux `ksize`).
    ///
    /// # Errors
    /// [`ObjectError`] if no object is there.
    pub fn ksize(&self, object: NonNull<u8>) -> Result<usize, ObjectError> {
        let table = &self.ground().ok_or(ObjectError::NotBooted)?.table;
        let at = object.as_ptr().addr();
        if object == ZERO_SIZE_PTR {
            return Ok(0);
        }
        match find(table, self.machine(), object) {
            Some(Found::Slab(slab, offset)) => {
                let cache = self.cache_of(slab).ok_or(ObjectError::NotAnObject(at))?;
                let start = offset.checked_sub(cache.geometry.red_left as usize);
                start.and_then(|at| cache.object_at(at)).ok_or(ObjectError::NotAtStart(at))?;
                Ok(cache.usable())
            }
            Some(Found::Large(_, order, 0)) => Ok((PAGE_SIZE as usize) << order.get()),
            Some(Found::Large(..)) => Err(ObjectError::NotAtStart(at)),
            None => Err(ObjectError::NotAnObject(at)),
        }
    }

    /// Makes an object larger or smaller; its content stays as far as it fits (Linux `krealloc`). A null pointer is
    /// an object without content. The old object is freed unless there is an error.
    ///
    /// # Errors
    /// As for [`Slabs::kmalloc`]; [`AllocError::BadSize`] also if there is no object at `object`.
    ///
    /// # Safety
    /// As for [`Slabs::kfree`], but that on an error the object stays the caller's.
    #[track_caller]
    pub unsafe fn krealloc(
        &self,
        frames: &impl FrameAllocator<'p>,
        object: *mut u8,
        size: usize,
        gfp: GfpFlags,
    ) -> Result<NonNull<u8>, AllocError> {
        let Some(old) = NonNull::new(object) else { return self.kmalloc(frames, size, gfp) };
        let room = self.ksize(old).map_err(|_| AllocError::BadSize)?;
        if size != 0 && size <= room {
            return Ok(old);
        }
        let new = self.kmalloc(frames, size, gfp)?;
        // SAFETY: both objects are the caller's, differ, and have at least that many bytes.
        unsafe {
            new.copy_from_nonoverlapping(old, room.min(size));
            self.kfree(old.as_ptr()).map_err(|_| AllocError::BadSize)?;
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests;
