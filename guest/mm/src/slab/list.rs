//! Free lists: objects linked through a word inside each of them.
//!
//! Owns: how a link is stored, and the order of a new list. Invariants: in hardened caches a link is never stored in
//! the clear: it is combined with a key of the cache and the place where it lies, so that an overrun cannot aim it; the
//! last object links to 0. Addresses become pointers again by the pointer to the first object of their slab.
//! Source: Linux `freelist_ptr_encode`, `shuffle_freelist` (`mm/slub.c`).

use super::cache::Cache;
use super::config::SlabConfig;
use crate::mutant::planted;
use core::ptr::NonNull;

/// As [`Cache::set_next`], for an object of a plain slab.
///
/// # Safety
/// As for [`Cache::set_next`]; the cache is a plain one.
#[inline(always)]
pub(super) unsafe fn set_next_plain(object: NonNull<u8>, next: usize) {
    // SAFETY: as in `next`: the link is the first word.
    unsafe { object.cast::<usize>().write(next) }
}

impl Cache {
    #[inline(always)]
    fn link_of(&self, object: NonNull<u8>) -> *mut usize {
        object.as_ptr().wrapping_add(self.link).cast()
    }

    /// `word` as it is stored at `link`, and the other way round. In line: for a call the short ways would have to save
    /// registers, hardened or not.
    #[inline(always)]
    fn coded(&self, link: *mut usize, word: usize) -> usize {
        if !self.hardened {
            return word;
        }
        core::hint::cold_path();
        word ^ self.key ^ link.addr().swap_bytes()
    }

    /// The object after `object` on its list, or 0.
    ///
    /// # Safety
    /// `object` is a free object of this cache, and nobody else writes it during the call.
    #[inline(always)]
    pub(super) unsafe fn next(&self, object: NonNull<u8>) -> usize {
        let link = self.link_of(object);
        // SAFETY: the link lies inside the object's share of the slab, aligned to a word.
        let stored = unsafe { link.read() };
        self.coded(link, stored)
    }

    /// Links `object` to `next`, an object of the same slab or 0.
    ///
    /// # Safety
    /// As for [`Cache::next`].
    #[inline(always)]
    pub(super) unsafe fn set_next(&self, object: NonNull<u8>, next: usize) {
        let link = self.link_of(object);
        // SAFETY: as in `next`.
        unsafe { link.write(self.coded(link, next)) }
    }

    /// Links all objects of a slab whose first object is `first`, and returns the first of the list.
    ///
    /// # Safety
    /// The slab is this cache's, and nobody else uses it.
    pub(super) unsafe fn link_all(&self, first: NonNull<u8>, config: &SlabConfig) -> usize {
        let (size, total) = (self.geometry.size as usize, self.geometry.used_bytes());
        let (start, step) = self.order(config, first.as_ptr().addr());
        let (mut at, step) = (start * size, step * size);
        let object = |at: usize| {
            // SAFETY: `at` is a multiple of the size below the bytes that objects take.
            unsafe { first.add(at) }
        };
        let head = object(at);
        let mut last = head;
        for _ in 1..self.geometry.objects - u32::from(planted("slab.last_object_is_lost")) {
            at += step;
            if at >= total {
                at -= total;
            }
            let next = object(at);
            // SAFETY: by the caller.
            unsafe { self.set_next(last, next.as_ptr().addr()) };
            last = next;
        }
        // SAFETY: by the caller.
        unsafe { self.set_next(last, 0) };
        head.as_ptr().addr()
    }

    /// Where a new list starts, and how far it is from one object to the next, going round at the end. All objects
    /// are met, because the step has no divisor in common with their number.
    fn order(&self, config: &SlabConfig, salt: usize) -> (usize, usize) {
        let objects = self.geometry.objects;
        if !config.randomize || objects < 3 {
            return (0, 1);
        }
        let random = config.random((salt as u64).wrapping_add(self.key as u64));
        let below = |word: u64, end: u32| (((word & 0xffff_ffff) * u64::from(end)) >> 32) as u32;
        let start = below(random, objects);
        let mut step = below(random >> 32, objects) | 1;
        while !is_coprime(step, objects) {
            step += 2;
        }
        (start as usize, (step % objects) as usize)
    }
}

fn is_coprime(mut a: u32, mut b: u32) -> bool {
    if b.is_power_of_two() {
        return a & 1 == 1;
    }
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}
