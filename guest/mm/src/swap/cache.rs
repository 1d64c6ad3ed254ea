//! Pages that are in memory and have a slot, by slot (Linux `mm/swap_state.c`).
//!
//! Owns: the indexes, one for every 64 MiB of an area, and which page has which slot. Stays outside: what a page holds.
//! Invariants: a page is in an index iff the byte of its slot says so, but for the moment in which whoever set the bit
//! brings the page; a page goes in and out locked, and not while it is being written.

use super::memory::SPACE_SLOTS;
use super::{Freed, Refused, Swap, packed, unpacked};
use crate::addr::Pfn;
use crate::folio::{Folio, FolioFlags};
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Cpu, Machine, SwapEntry};
use crate::sync::rcu;
use crate::vmstat::NodeStat;
use crate::xarray::{Entry, XArray};
use core::sync::atomic::Ordering;

/// Where a slot is in its index.
fn index(entry: SwapEntry) -> u64 {
    entry.offset() % SPACE_SLOTS
}

impl<'p, M: Machine> Swap<'p, M> {
    /// The index that `entry` is in, if its area is on, for somebody who is in a read section or has a slot of the area.
    fn space(&self, entry: SwapEntry) -> Option<&XArray> {
        let area = self.area(entry)?;
        let number = entry.offset() / SPACE_SLOTS;
        let first = area.spaces.load(Ordering::Acquire);
        if first.is_null() || number >= u64::from(area.count.load(Ordering::Relaxed)) {
            return None;
        }
        // SAFETY: there are so many of them; whoever switches the area off waits until no slot is taken, hides them, and
        // lets a grace period pass before their memory goes.
        Some(unsafe { &*first.add(number as usize) })
    }

    /// The page of a slot if it is in memory, with a reference (Linux `swap_cache_get_folio`).
    pub(crate) fn lookup(&self, entry: SwapEntry) -> Option<Folio<'p>> {
        let table = self.ground()?.table;
        let section = rcu::read_lock(self.cpu());
        loop {
            let array = self.space(entry)?;
            let found = array.load(&section, index(entry));
            let folio = Folio::try_get(table, Pfn::new(found.as_handle()?)?);
            if array.load(&section, index(entry)) == found {
                // If it cannot be had it is just going.
                return folio;
            }
            if let Some(folio) = folio {
                self.put(folio);
            }
        }
    }

    /// The slot of a page that is in the cache.
    pub(crate) fn entry_of(&self, folio: Folio<'_>) -> Option<SwapEntry> {
        unpacked(self.ground()?.word(folio)?.load(Ordering::Relaxed))
    }

    /// Gives a reference back.
    pub(crate) fn put(&self, folio: Folio<'_>) {
        if folio.put(1) {
            let _ = self.lru.free(self.phys, folio);
        }
    }

    /// Puts a locked page in the cache, for a slot whose bit the caller has set; what stood there of a page that was
    /// evicted. False without memory for the index: then the slot's bit is the caller's still.
    pub(super) fn insert(
        &self,
        folio: Folio<'_>,
        entry: SwapEntry,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<Option<u64>, Refused> {
        let (ground, space) = self.ground().zip(self.space(entry)).ok_or(Refused::Free)?;
        let word = ground.word(folio).ok_or(Refused::Free)?;
        let handle = Entry::handle(folio.pfn().get()).ok_or(Refused::Free)?;
        folio.get(1);
        word.store(packed(entry), Ordering::Relaxed);
        folio.set_flags(FolioFlags::SWAPCACHE);
        let source = ground.nodes.with(frames, GfpFlags::GFP_NOWAIT | GfpFlags::__GFP_NOWARN);
        match space.store(&source, index(entry), handle) {
            Ok(old) => {
                let (cpu, node) = (self.cpu(), folio.node());
                self.stat().grow(cpu, node, NodeStat::SwapCached, 1);
                self.stat().grow(cpu, node, NodeStat::FilePages, 1);
                Ok(old.as_value())
            }
            Err(_) => {
                folio.clear_flags(FolioFlags::SWAPCACHE);
                word.store(0, Ordering::Relaxed);
                // The caller has another.
                let _ = folio.put(1);
                Err(Refused::Full)
            }
        }
    }

    /// Gives a locked page, which is up to date, a slot, and puts it in the cache: dirty, for its slot has nothing yet
    /// (Linux `folio_alloc_swap`). False if there is no slot, or no memory.
    #[must_use = "without a slot the page stays"]
    pub(crate) fn add(&self, folio: Folio<'_>, frames: &impl FrameAllocator<'p>) -> bool {
        let Some(entry) = self.take_slot().or_else(|| self.take_discarded(frames)) else { return false };
        if self.insert(folio, entry, frames).is_err() {
            self.uncache(entry);
            return false;
        }
        folio.set_flags(FolioFlags::DIRTY);
        true
    }

    /// A slot where all that are free have yet to be given back to the disk.
    #[cold]
    fn take_discarded(&self, frames: &impl FrameAllocator<'p>) -> Option<SwapEntry> {
        let is_worth_it = self.free_slots() != 0 && self.cpu().can_wait();
        if is_worth_it && self.discard_freed(frames) != 0 { self.take_slot() } else { None }
    }

    /// Takes a locked page out of the cache. The caller has a reference, and the page is not being written.
    pub(crate) fn remove(&self, folio: Folio<'_>) {
        let Some(entry) = self.entry_of(folio) else { return };
        let (Some(ground), Some(space)) = (self.ground(), self.space(entry)) else { return };
        space.erase(ground.nodes, index(entry));
        self.forget(folio, entry);
        let _ = folio.put(1);
    }

    /// A page is in no index any more.
    fn forget(&self, folio: Folio<'_>, entry: SwapEntry) {
        if let Some(word) = self.ground().and_then(|ground| ground.word(folio)) {
            word.store(0, Ordering::Relaxed);
        }
        folio.clear_flags(FolioFlags::SWAPCACHE);
        let (cpu, node) = (self.cpu(), folio.node());
        self.stat().shrink(cpu, node, NodeStat::SwapCached, 1);
        self.stat().shrink(cpu, node, NodeStat::FilePages, 1);
        self.uncache(entry);
    }

    /// Takes a locked, clean page out of the cache to which nobody else has a reference, the caller's `refs` and the
    /// cache's aside, and leaves `shadow` in its place (Linux `__remove_mapping`). Whether it did: then the page has no
    /// references and is the caller's to free.
    #[must_use = "a page without references that nobody frees is lost"]
    pub(crate) fn evict(&self, folio: Folio<'_>, refs: u32, shadow: Option<u64>) -> bool {
        let Some(entry) = self.entry_of(folio) else { return false };
        let (Some(ground), Some(space)) = (self.ground(), self.space(entry)) else { return false };
        let mut stock = ground.nodes.stock();
        let mut array = space.lock(self.cpu());
        if !folio.freeze(refs + 1) {
            return false;
        }
        // It was to be written and could not be, or somebody wrote to it meanwhile.
        if folio.flags().intersects(FolioFlags::DIRTY | FolioFlags::WRITEBACK) {
            folio.thaw(refs + 1);
            return false;
        }
        match shadow.and_then(Entry::value) {
            // Where an entry stands another needs no node.
            Some(shadow) => drop(array.store(index(entry), shadow, &mut stock)),
            None => drop(array.erase(index(entry), &mut stock)),
        }
        drop(array);
        self.forget(folio, entry);
        true
    }

    /// Whether nothing but the cache names the slot of a page.
    pub(crate) fn is_only_cached(&self, folio: Folio<'_>) -> bool {
        self.entry_of(folio).is_some_and(|entry| !self.is_named(entry))
    }

    /// Takes a locked page out of the cache if no entry names its slot and it is not being written (Linux
    /// `folio_free_swap`). It is dirty then, for nothing else has what it holds.
    pub(crate) fn try_remove(&self, folio: Folio<'_>) -> bool {
        let flags = folio.flags();
        if !flags.contains(FolioFlags::SWAPCACHE) || flags.contains(FolioFlags::WRITEBACK) {
            return false;
        }
        if !self.is_only_cached(folio) {
            return false;
        }
        self.remove(folio);
        folio.set_flags(FolioFlags::DIRTY);
        true
    }

    /// An entry that named a slot is gone, and the slot with it if it was the last; if the cache still has its page, that
    /// goes, too, unless somebody is busy with it: then reclaim finds it (Linux `free_swap_and_cache`).
    ///
    /// # Errors
    /// [`Refused::Free`]: no entry named it.
    pub(crate) fn free(&self, entry: SwapEntry) -> Result<(), Refused> {
        if self.free_slot(entry)? == Freed::CacheOnly
            && let Some(folio) = self.lookup(entry)
        {
            if folio.try_lock() {
                if self.entry_of(folio) == Some(entry) && folio.mapcount() == 0 {
                    self.try_remove(folio);
                }
                folio.unlock(self.cpu());
            }
            self.put(folio);
        }
        Ok(())
    }

    /// Erases what an evicted page left at a slot that is free now.
    pub(super) fn forget_shadow(&self, entry: SwapEntry) {
        let section = rcu::read_lock(self.cpu());
        let (Some(ground), Some(space)) = (self.ground(), self.space(entry)) else { return };
        if space.load(&section, index(entry)).is_value() {
            let mut stock = ground.nodes.stock();
            let mut array = space.lock(self.cpu());
            if array.load(index(entry)).is_value() {
                array.erase(index(entry), &mut stock);
            }
        }
    }

    /// Checks that the cache has exactly the pages that the map says.
    pub(super) fn verify_cache(&self, entry: SwapEntry, is_cached: bool) -> Result<(), &'static str> {
        let section = rcu::read_lock(self.cpu());
        let (Some(ground), Some(space)) = (self.ground(), self.space(entry)) else { return Ok(()) };
        let found = space.load(&section, index(entry));
        let pfn = found.as_handle().and_then(Pfn::new);
        if pfn.is_some() != is_cached {
            return Err("the cache and the map of an area do not agree");
        }
        let folio = pfn.and_then(|pfn| Folio::of(ground.table, pfn));
        if pfn.is_some() && folio.and_then(|folio| self.entry_of(folio)) != Some(entry) {
            return Err("a page in the cache at another slot than its own");
        }
        Ok(())
    }
}
