//! Executable invariants of all slabs: every object is in use or on exactly one list.
//!
//! Owns: the walk. It looks at every slab there is by its frame, whatever list it is on or is not. Invariants: the
//! other CPUs neither allocate nor free during the walk; active slabs of other CPUs may be there.

use super::cache::Cache;
use super::frame::{Held, SlabFrame, held};
use super::free::{Found, find};
use super::registry::MAX_CACHES;
use super::report::Problem;
use super::{Name, Slabs};
use crate::addr::{Order, Pfn};
use crate::port::Machine;
use crate::sync::Place;
use core::fmt;
use core::ptr::NonNull;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlabViolation {
    /// The cache, if the slab names one.
    pub cache: Option<Name>,
    /// The first frame of the slab; 0 if it is about the sums of a cache.
    pub pfn: u64,
    /// What is wrong.
    pub what: &'static str,
    /// The number found.
    pub found: u64,
    /// The number that should be.
    pub expected: u64,
}

impl fmt::Display for SlabViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.cache.as_ref().map_or("?", Name::as_str);
        let Self { pfn, what, found, expected, .. } = self;
        write!(f, "slab {name} pfn {pfn:#x}: {what}: {found}, expected {expected}")
    }
}

/// What the walk has counted of one cache.
#[derive(Clone, Copy, Default)]
struct Sums {
    slabs: u64,
    free: u64,
}

impl<'p, M: Machine> Slabs<'p, M> {
    /// Checks every slab of every cache; how many there are.
    ///
    /// # Errors
    /// The first [`SlabViolation`]. Damage that `slab_debug=` finds is also reported.
    pub fn verify(&self) -> Result<u64, SlabViolation> {
        let Some(ground) = self.ground() else { return Ok(0) };
        let mut sums = [Sums::default(); MAX_CACHES];
        let (mut at, mut slabs) = (0, 0);
        while at < ground.table.end() {
            let lookup = ground.table.lookup(Pfn::from_u32(at));
            let found = lookup.map(|(idx, _)| held(&ground.table, idx));
            at += match (lookup, found) {
                // Frame 0 has no descriptor that counts, but those after it may.
                (None, _) if at != 0 => Order::PAGEBLOCK.pages() as u32,
                (_, Some(Held::Slab(slab, 0))) => {
                    let cache = self.cache_of(slab).ok_or_else(|| nameless(slab))?;
                    let free = self.verify_slab(cache, slab)?;
                    if let Some(sums) = sums.get_mut(cache.id as usize) {
                        sums.slabs += 1;
                        sums.free += free;
                    }
                    slabs += 1;
                    cache.geometry.order.pages() as u32
                }
                _ => 1,
            };
        }
        for cache in self.caches() {
            let sums = sums.get(cache.id as usize).copied().unwrap_or_default();
            let stats = cache.stats();
            let wrong = |what, found, expected| SlabViolation {
                cache: Some(cache.name),
                pfn: 0,
                what,
                found,
                expected,
            };
            if sums.slabs != stats.slabs {
                return Err(wrong("slabs", sums.slabs, stats.slabs));
            }
            let in_use = (stats.objects - sums.free).saturating_sub(self.verify_hands(cache)?);
            if in_use != stats.active_objects {
                return Err(wrong("objects in use", in_use, stats.active_objects));
            }
        }
        Ok(slabs)
    }

    /// Checks what CPUs have at hand: a free object each, of their active slab, on no list. How many there are.
    fn verify_hands(&self, cache: &Cache) -> Result<u64, SlabViolation> {
        let mut hands = 0;
        for part in cache.all_cpus() {
            let Some(object) = part.hand() else { continue };
            let sound = match find(&cache.table, self.machine(), object) {
                Some(Found::Slab(slab, offset)) if slab.has_mark(cache.mark) => {
                    let is_listed = self
                        .slab_base(slab.idx())
                        .is_none_or(|base| cache.is_listed(slab, base, object.as_ptr().addr()));
                    slab.word().load().has_tag(part.tag) && cache.object_at(offset).is_some() && !is_listed
                }
                _ => false,
            };
            if !sound {
                let found = object.as_ptr().addr() as u64;
                let what = "object at hand";
                return Err(SlabViolation { cache: Some(cache.name), pfn: 0, what, found, expected: 0 });
            }
            hands += 1;
        }
        Ok(hands)
    }

    /// Checks one slab; how many of its objects are free.
    fn verify_slab(&self, cache: &Cache, slab: SlabFrame<'_>) -> Result<u64, SlabViolation> {
        let idx = slab.idx();
        let wrong = |what, found: u64, expected: u32| SlabViolation {
            cache: Some(cache.name),
            pfn: idx.pfn().get(),
            what,
            found,
            expected: expected.into(),
        };
        let Some(base) = self.slab_base(idx) else { return Err(wrong("not in the direct map", 0, 0)) };
        let word = slab.word().load();
        let chain = word.chain();
        let objects = cache.geometry.objects;
        let first = slab.local().freelist();
        let local = cache.walk(base, first, objects).ok_or_else(|| wrong("broken free list", 0, objects))?;
        let remote = if chain.count == 0 {
            0
        } else {
            let first = cache.address_of(base.as_ptr(), chain);
            cache.walk(base, first, objects).ok_or_else(|| wrong("broken chain", 0, objects))?
        };
        if remote != chain.count {
            return Err(wrong("objects on the chain", remote.into(), chain.count));
        }
        let counted = objects.saturating_sub(local);
        if slab.inuse() != counted {
            return Err(wrong("inuse", slab.inuse().into(), counted));
        }
        if word.place() == Place::Full && local + remote != 0 {
            return Err(wrong("free objects of a full slab", (local + remote).into(), 0));
        }
        if local + remote > objects {
            return Err(wrong("free objects", (local + remote).into(), objects));
        }
        if cache.is_checked() {
            self.verify_patterns(cache, slab, base).map_err(|n| wrong("damaged objects", n, 0))?;
        }
        Ok(u64::from(local + remote))
    }

    /// Checks zones and patterns of every object of a checked slab.
    fn verify_patterns(&self, cache: &Cache, slab: SlabFrame<'_>, base: NonNull<u8>) -> Result<(), u64> {
        let mut damaged = 0;
        let g = &cache.geometry;
        for n in 0..g.objects as usize {
            let at = n * g.size as usize + g.red_left as usize;
            // SAFETY: object `n` lies in the slab, which nobody changes during the walk.
            let object = unsafe { base.add(at) };
            let in_use = !cache.is_listed(slab, base, object.as_ptr().addr());
            // SAFETY: as above.
            if !unsafe { self.check(cache, slab, base, object, in_use) } {
                damaged += 1;
            }
        }
        if cache.walk(base, slab.local().freelist(), g.objects).is_none() {
            self.report(cache, slab, base, slab.local().freelist(), Problem::BadCount);
            damaged += 1;
        }
        if damaged == 0 { Ok(()) } else { Err(damaged) }
    }
}

/// A slab that names no cache.
#[cold]
fn nameless(slab: SlabFrame<'_>) -> SlabViolation {
    let (pfn, found) = (slab.idx().pfn().get(), slab.cache_id().into());
    SlabViolation { cache: None, pfn, what: "number of the cache", found, expected: 0 }
}

impl Cache {
    /// The length of a free list; `None` if it leads out of its slab or has more than `limit` objects.
    fn walk(&self, base: NonNull<u8>, first: usize, limit: u32) -> Option<u32> {
        let (mut at, mut length) = (first, 0);
        while at != 0 {
            let object = NonNull::new(base.as_ptr().with_addr(at))?;
            if length == limit || !self.checked_start(at.wrapping_sub(base.as_ptr().addr())) {
                return None;
            }
            length += 1;
            // SAFETY: an object of the slab starts there; the caller lets nobody change the list meanwhile.
            at = unsafe { self.next(object) };
        }
        Some(length)
    }
}
