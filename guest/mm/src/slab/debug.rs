//! `slab_debug=`: caches whose every allocation and free is checked (Linux `alloc_debug_processing`,
//! `free_debug_processing`, `check_object`).
//!
//! Owns: the patterns and the checks. Invariants: slabs of such a cache are owned by the lock of their node, those
//! with free objects on its list; nothing of them is active on a CPU. What was found damaged is restored, or taken
//! out of use for good, so that the damage is reported once.
//!
//! | byte | where |
//! |---|---|
//! | 0xbb, 0xcc | red zones of free objects and of objects in use |
//! | 0x6b, 0xa5 | free objects, and their last byte |
//! | 0x5a | padding |

use super::alloc::Site;
use super::cache::{Cache, NodeSlabs, Partial, count};
use super::error::ObjectError;
use super::frame::SlabFrame;
use super::report::{Problem, Report};
use super::track::Track;
use super::{SlabFlags, Slabs};
use crate::phys::{AllocError, FrameAllocator, GfpFlags};
use crate::port::{Cpu, Machine};
use crate::sync::Place;
use core::ptr::NonNull;

const RED_INACTIVE: u8 = 0xbb;
const RED_ACTIVE: u8 = 0xcc;
const POISON_INUSE: u8 = 0x5a;
const POISON_FREE: u8 = 0x6b;
const POISON_END: u8 = 0xa5;

/// The bytes around and in an object, for a report.
pub(super) struct Parts<'a> {
    left: (usize, &'a [u8]),
    object: (usize, &'a [u8]),
    right: (usize, &'a [u8]),
    padding: (usize, &'a [u8]),
    pub(super) tracks: [Option<Track>; 2],
}

impl<'a> Parts<'a> {
    /// Titles, addresses and bytes in Linux's order; at most a page of an object.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'static str, usize, &'a [u8])> {
        let parts = [
            ("Redzone", self.left),
            ("Object", self.object),
            ("Redzone", self.right),
            ("Padding", self.padding),
        ];
        parts.into_iter().map(|(title, (at, bytes))| (title, at, bytes))
    }
}

impl<'p, M: Machine> Slabs<'p, M> {
    /// Allocates from a checked cache.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_checked(
        &self,
        cache: &Cache,
        frames: &impl FrameAllocator<'p>,
        gfp: GfpFlags,
        site: Site,
    ) -> Result<NonNull<u8>, AllocError> {
        let local = self.local_node();
        let object = loop {
            let nodes = core::iter::once(local).chain(0..cache.node_count as usize);
            let mut taken =
                nodes.map(|node| cache.node(node)).filter_map(|node| self.take_checked(cache, node, site));
            if let Some(object) = taken.next() {
                break object;
            }
            let idx = self.new_slab(cache, frames, gfp, Place::Node)?;
            let Some((_, block)) = cache.table.lookup(idx.pfn()) else { return Err(AllocError::NotBooted) };
            cache.node(block.zone().node.index()).lock(self.machine().cpu()).push(&cache.table, idx);
        };
        let here = cache.here(self.machine().cpu());
        count(&here.part.allocs);
        count(&here.part.slow);
        drop(here);
        if cache.zero_on_alloc || gfp.contains(GfpFlags::__GFP_ZERO) {
            cache.zero(object);
        }
        Ok(object)
    }

    /// Takes an object of the first sound slab of a node.
    fn take_checked(&self, cache: &Cache, node: &NodeSlabs, site: Site) -> Option<NonNull<u8>> {
        let mut partial = node.lock(self.machine().cpu());
        loop {
            let idx = partial.first()?;
            let slab = SlabFrame::at(&cache.table, idx);
            let base = self.slab_base(idx)?;
            if let Some(object) = self.pop_checked(cache, slab, base, site) {
                if slab.inuse() == cache.geometry.objects {
                    partial.remove(&cache.table, idx);
                    slab.word().init(Place::Full);
                }
                return Some(object);
            }
            // Nothing of a damaged slab is given out again; its pages are lost.
            slab.set_inuse(cache.geometry.objects);
            slab.local().set_freelist(0);
            partial.remove(&cache.table, idx);
            slab.word().init(Place::Full);
        }
    }

    /// Takes the first object of a slab; `None` if a check fails, which was reported.
    fn pop_checked(
        &self,
        cache: &Cache,
        slab: SlabFrame<'_>,
        base: NonNull<u8>,
        site: Site,
    ) -> Option<NonNull<u8>> {
        let at = slab.local().freelist();
        let offset = at.wrapping_sub(base.as_ptr().addr());
        let object = NonNull::new(base.as_ptr().with_addr(at)).filter(|_| cache.checked_start(offset));
        let Some(object) = object else {
            self.report(cache, slab, base, at, Problem::BadLink);
            return None;
        };
        // SAFETY: the object is free, its bytes are the allocator's under the lock.
        unsafe {
            if cache.flags.contains(SlabFlags::CONSISTENCY_CHECKS)
                && !self.check(cache, slab, base, object, false)
            {
                return None;
            }
            slab.local().set_freelist(cache.next(object));
            slab.set_inuse(slab.inuse() + 1);
            self.note(cache, object, 0, site);
            cache.paint(object, RED_ACTIVE);
        }
        if cache.flags.contains(SlabFlags::TRACE) {
            self.report(cache, slab, base, at, Problem::Trace(true));
        }
        Some(object)
    }

    /// Frees into a checked cache.
    #[cold]
    #[inline(never)]
    pub(super) fn free_checked(
        &self,
        cache: &Cache,
        slab: SlabFrame<'_>,
        offset: usize,
        object: NonNull<u8>,
        site: Site,
    ) -> Result<(), ObjectError> {
        let at = object.as_ptr().addr();
        let (Some(base), Some((_, block))) =
            (self.slab_base(slab.idx()), cache.table.lookup(slab.idx().pfn()))
        else {
            return Err(ObjectError::NotAnObject(at));
        };
        let node = cache.node(block.zone().node.index());
        let mut partial = node.lock(self.machine().cpu());
        if !cache.checked_start(offset) {
            self.report(cache, slab, base, at, Problem::InvalidPointer);
            return Err(ObjectError::NotAtStart(at));
        }
        if cache.is_listed(slab, base, at) {
            self.report(cache, slab, base, at, Problem::AlreadyFree);
            return Err(ObjectError::DoubleFree { at, cache: cache.name });
        }
        let mut damaged = false;
        // SAFETY: the object is not on the list, so it was in use, and the caller gives it up.
        unsafe {
            if cache.flags.contains(SlabFlags::CONSISTENCY_CHECKS) {
                damaged = !self.check(cache, slab, base, object, true);
            }
            self.note(cache, object, 1, site);
            cache.paint(object, RED_INACTIVE);
            if cache.zero_on_free && !cache.poisons_objects() {
                cache.zero(object);
            }
            cache.set_next(object, slab.local().freelist());
        }
        slab.local().set_freelist(at);
        let emptied = self.list_checked(cache, slab, &mut partial);
        if cache.flags.contains(SlabFlags::TRACE) {
            self.report(cache, slab, base, at, Problem::Trace(false));
        }
        drop(partial);
        let here = cache.here(self.machine().cpu());
        count(&here.part.frees);
        drop(here);
        if emptied {
            self.discard(cache, slab.idx());
        }
        if damaged { Err(ObjectError::Corrupt(at)) } else { Ok(()) }
    }

    /// Counts an object back into its slab and lists it; true if the slab is empty, off the list and not needed.
    fn list_checked(&self, cache: &Cache, slab: SlabFrame<'_>, partial: &mut Partial<'_, M::Cpu>) -> bool {
        let was_full = slab.inuse() == cache.geometry.objects;
        let empty = slab.local().one_back();
        if was_full {
            slab.word().init(Place::Node);
            partial.push(&cache.table, slab.idx());
        }
        let spare = empty && partial.count() > u64::from(cache.min_partial);
        if spare {
            partial.remove(&cache.table, slab.idx());
        }
        spare
    }

    /// Writes down who has allocated (0) or freed (1) an object.
    ///
    /// # Safety
    /// The object's bytes are the allocator's.
    unsafe fn note(&self, cache: &Cache, object: NonNull<u8>, which: usize, site: Site) {
        let (Some(offset), Some(ground)) = (cache.geometry.tracks, self.ground()) else { return };
        let hooks = &ground.config.hooks;
        let cpu = self.machine().cpu().id().0;
        let track = Track::new(site, (hooks.now_ms)(), cpu, (hooks.task)(), cache.key);
        // SAFETY: the tracks lie in the object's share of the slab, aligned to a word.
        unsafe { object.add(offset as usize).cast::<Track>().add(which).write(track) }
    }

    /// Checks the zones and patterns of an object that should be in use or free. Reports and restores the first
    /// damage.
    ///
    /// # Safety
    /// The object's zones are the allocator's, and its bytes if it should be free.
    pub(super) unsafe fn check(
        &self,
        cache: &Cache,
        slab: SlabFrame<'_>,
        base: NonNull<u8>,
        object: NonNull<u8>,
        in_use: bool,
    ) -> bool {
        for zone in cache.zones(in_use) {
            // SAFETY: a zone lies in the object's share of the slab.
            let bytes = unsafe { cache.bytes_at(object, zone.start, zone.len) };
            let Some(first) = bytes.iter().position(|byte| *byte != zone.value) else { continue };
            let last = bytes.iter().rposition(|byte| *byte != zone.value).unwrap_or(first);
            let start = object.as_ptr().addr().wrapping_add_signed(zone.start);
            let found = bytes.get(first).copied().unwrap_or(0);
            let (what, expected) = (zone.what, zone.value);
            let problem =
                Problem::Overwritten { what, from: start + first, to: start + last, found, expected };
            self.report(cache, slab, base, object.as_ptr().addr(), problem);
            // SAFETY: as above.
            unsafe { object.offset(zone.start).write_bytes(zone.value, zone.len) };
            return false;
        }
        true
    }

    #[cold]
    pub(super) fn report(
        &self,
        cache: &Cache,
        slab: SlabFrame<'_>,
        base: NonNull<u8>,
        object: usize,
        problem: Problem,
    ) {
        let Some(ground) = self.ground() else { return };
        let first = base.as_ptr().addr();
        // SAFETY: an object starts there, so its whole share of the slab can be read.
        let parts = cache
            .checked_start(object.wrapping_sub(first))
            .then(|| NonNull::new(base.as_ptr().with_addr(object)))
            .flatten()
            .map(|object| unsafe { cache.parts(object) });
        (ground.config.hooks.report)(&Report {
            cache,
            problem,
            slab: first,
            object,
            inuse: slab.inuse(),
            freelist: slab.local().freelist(),
            now_ms: (ground.config.hooks.now_ms)(),
            parts,
        });
    }
}

/// Bytes of an object's share that have one value.
pub(super) struct Zone {
    what: &'static str,
    /// From the start of the object.
    start: isize,
    len: usize,
    value: u8,
}

impl Cache {
    /// Whether an object starts at this offset of a slab.
    pub(super) fn checked_start(&self, offset: usize) -> bool {
        let start = offset.checked_sub(self.geometry.red_left as usize);
        start.is_some_and(|start| self.object_at(start).is_some())
    }

    /// Whether free objects hold a pattern: a constructed object, or one that keeps its type, keeps its content.
    fn poisons_objects(&self) -> bool {
        let keeps = self.ctor.is_some() || self.flags.contains(SlabFlags::TYPESAFE_BY_RCU);
        self.flags.contains(SlabFlags::POISON) && !keeps
    }

    /// What must hold around an object in use, or around and in a free one.
    fn zones(&self, in_use: bool) -> impl Iterator<Item = Zone> + use<> {
        let g = self.geometry;
        let red = if in_use { RED_ACTIVE } else { RED_INACTIVE };
        let has = |flag, zone: Zone| self.flags.contains(flag).then_some(zone).filter(|zone| zone.len != 0);
        let (size, inuse) = (g.object_size as usize, g.inuse as usize);
        let red_zone = SlabFlags::RED_ZONE;
        let end = g.size as usize - g.red_left as usize;
        let tail = self.metadata_end();
        let poison = SlabFlags::POISON;
        let shows_poison = !in_use && self.poisons_objects();
        let zones = [
            has(
                red_zone,
                Zone {
                    what: "Left Redzone",
                    start: -(g.red_left as isize),
                    len: g.red_left as usize,
                    value: red,
                },
            ),
            has(
                red_zone,
                Zone { what: "Right Redzone", start: size as isize, len: inuse - size, value: red },
            ),
            has(poison, Zone { what: "Poison", start: 0, len: size - 1, value: POISON_FREE })
                .filter(|_| shows_poison),
            has(poison, Zone { what: "End Poison", start: size as isize - 1, len: 1, value: POISON_END })
                .filter(|_| shows_poison),
            has(
                poison,
                Zone { what: "Object padding", start: tail as isize, len: end - tail, value: POISON_INUSE },
            ),
        ];
        zones.into_iter().flatten()
    }

    /// Where the link and the tracks end, from the start of an object.
    fn metadata_end(&self) -> usize {
        let g = &self.geometry;
        let link_end = (g.offset + super::geometry::WORD).max(g.inuse);
        g.tracks.map_or(link_end, |at| at + 2 * size_of::<Track>() as u32) as usize
    }

    /// Writes the patterns of a free object (inactive) or of one in use.
    ///
    /// # Safety
    /// The object's share of the slab is the allocator's.
    unsafe fn paint(&self, object: NonNull<u8>, red: u8) {
        let g = &self.geometry;
        let size = g.object_size as usize;
        // SAFETY: all parts lie in the object's share of the slab.
        unsafe {
            if self.flags.contains(SlabFlags::RED_ZONE) {
                object.sub(g.red_left as usize).write_bytes(red, g.red_left as usize);
                object.add(size).write_bytes(red, g.inuse as usize - size);
            }
            if self.poisons_objects() && red == RED_INACTIVE {
                object.write_bytes(POISON_FREE, size - 1);
                object.add(size - 1).write(POISON_END);
            }
        }
    }

    /// Prepares the block of a new slab.
    ///
    /// # Safety
    /// The block at `base` is a slab of this cache to be.
    pub(super) unsafe fn prepare_checked(&self, base: NonNull<u8>) {
        let g = &self.geometry;
        // SAFETY: the block is the caller's, and has the bytes.
        unsafe {
            base.write_bytes(POISON_INUSE, g.slab_bytes());
            for n in 0..g.objects as usize {
                let object = base.add(n * g.size as usize + g.red_left as usize);
                self.paint(object, RED_INACTIVE);
                if let Some(offset) = g.tracks {
                    let tracks = object.add(offset as usize).cast::<Track>();
                    tracks.write(Track::NONE);
                    tracks.add(1).write(Track::NONE);
                }
            }
        }
    }

    /// Whether `object` is on the local list of a slab. A list that leads out of its slab ends there.
    pub(super) fn is_listed(&self, slab: SlabFrame<'_>, base: NonNull<u8>, object: usize) -> bool {
        let mut at = slab.local().freelist();
        for _ in 0..self.geometry.objects {
            if at == object {
                return true;
            }
            let Some(free) = NonNull::new(base.as_ptr().with_addr(at)) else { return false };
            if !self.checked_start(at.wrapping_sub(base.as_ptr().addr())) {
                return false;
            }
            // SAFETY: an object of the slab starts there, and its link is read under the lock.
            at = unsafe { self.next(free) };
        }
        false
    }

    /// Bytes of an object's share, `start` from the start of the object.
    ///
    /// # Safety
    /// They lie in the share, and nobody writes them meanwhile.
    unsafe fn bytes_at<'a>(&self, object: NonNull<u8>, start: isize, len: usize) -> &'a [u8] {
        // SAFETY: by the caller; slabs of checked caches are filled when they are made.
        unsafe { core::slice::from_raw_parts(object.offset(start).as_ptr(), len) }
    }

    /// The parts of an object.
    ///
    /// # Safety
    /// An object starts there.
    unsafe fn parts<'a>(&self, object: NonNull<u8>) -> Parts<'a> {
        let g = &self.geometry;
        let (size, inuse, end) = (g.object_size as usize, g.inuse as usize, self.metadata_end());
        let at = |start: usize| object.as_ptr().addr() + start;
        let padding = g.size as usize - g.red_left as usize - end;
        // SAFETY: all parts lie in the object's share, and a report is made while nobody uses it rightly.
        unsafe {
            let track = |n: usize| g.tracks.map(|t| object.add(t as usize).cast::<Track>().add(n).read());
            Parts {
                left: (
                    at(0) - g.red_left as usize,
                    self.bytes_at(object, -(g.red_left as isize), g.red_left as usize),
                ),
                object: (at(0), self.bytes_at(object, 0, size.min(4096))),
                right: (at(size), self.bytes_at(object, size as isize, inuse - size)),
                padding: (at(end), self.bytes_at(object, end as isize, padding)),
                tracks: [track(0), track(1)],
            }
        }
    }
}
