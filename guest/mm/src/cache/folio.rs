//! Folios in the index of an inode: found, added, taken out (Linux `filemap_get_entry`, `filemap_add_folio`,
//! `__filemap_remove_folio`).
//!
//! Owns: the reference of the index, `nrpages`, and the count of pages of files. Invariants: whoever takes a folio out holds
//! its lock; a folio belongs to an inode exactly as long as it stands in the index, which changes under the lock of the
//! array. So whoever has a reference sees from the folio whether it stood where he found it: what he found without a lock
//! may have been freed and become another folio before he got the reference.

use super::{Inode, PageCache};
use crate::addr::{Order, PAGE_SIZE, Pfn};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Cpu, Machine};
use crate::sync::rcu;
use crate::vmstat::NodeStat;
use crate::xarray::Entry;
use core::sync::atomic::Ordering;

/// Pages of files: they can move, and the kernel reads them through the direct map.
const GFP_PAGES: GfpFlags = GfpFlags::GFP_USER.union(GfpFlags::__GFP_MOVABLE);

/// What a page is added for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// To be read: only a page of the file as it is. Whoever makes the file shorter meanwhile finds the page, because the
    /// size changes under the lock of the index.
    Read,
    /// To be written by somebody who keeps others from changing the size: any page.
    Write,
}

/// Why a folio was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AddError {
    /// There is one at this index.
    Exists,
    /// The file ends before it.
    PastEnd,
    /// No memory for the page or for the index.
    NoMemory,
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// The folio at `index` with a reference more, if there is one in memory. Takes no lock.
    #[inline]
    pub(crate) fn find(&self, inode: &Inode<'p>, index: u64) -> Option<Folio<'p>> {
        self.find_and(inode, index, |_| {})
    }

    /// The same; `seen` hears of the frame as soon as it is known, before it is clear that it is the folio.
    #[inline]
    pub(crate) fn find_and(&self, inode: &Inode<'p>, index: u64, seen: impl Fn(Pfn)) -> Option<Folio<'p>> {
        let (table, cpu) = (self.ground()?.table, self.machine().cpu());
        let section = rcu::read_lock(cpu);
        loop {
            let entry = inode.mapping().pages.load(&section, index);
            let pfn = Pfn::new(entry.as_handle()?)?;
            seen(pfn);
            match Folio::try_get(table, pfn) {
                Some(folio) if folio.mapping() == inode.of_pages() && folio.index() == index => {
                    return Some(folio);
                }
                // It became something else, or is just being added.
                Some(other) => self.put(other),
                None => {}
            }
            // It is on its way in or out: soon another answer stands there.
            core::hint::cold_path();
            cpu.relax();
        }
    }

    /// Gives a reference back, and the folio to the page allocator if it was the last.
    #[inline]
    pub(crate) fn put(&self, folio: Folio<'_>) {
        if folio.put(1) {
            self.release(folio);
        }
    }

    /// Frees a folio without references.
    #[cold]
    pub(crate) fn release(&self, folio: Folio<'_>) {
        // A refusal would mean that somebody freed it behind our back; then it is not ours to give.
        let _ = self.lru.free(self.phys, folio);
    }

    /// Adds a new page at `index`, locked and not up to date, on the lists of reclaim. The caller has a reference to it.
    pub(crate) fn add_page(
        &self,
        inode: &Inode<'p>,
        index: u64,
        purpose: Use,
        gfp: GfpFlags,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<Folio<'p>, AddError> {
        let ground = self.ground().ok_or(AddError::NoMemory)?;
        let cpu = self.machine().cpu();
        let (pfn, _) = frames.alloc(GFP_PAGES | gfp, Order::ZERO).map_err(|_| AddError::NoMemory)?.into_raw();
        let made = Folio::create(ground.table, pfn, Mapping::None, index, FolioFlags::LOCKED);
        let (folio, entry) = made.zip(Entry::handle(pfn.get())).ok_or(AddError::NoMemory)?;
        // Before anybody can find it: the reference of the caller.
        folio.get(1);
        let source = ground.nodes.with(frames, gfp | GfpFlags::GFP_KERNEL);
        let mut stock = ground.nodes.stock();
        let added = loop {
            let mut pages = inode.mapping().pages.lock(cpu);
            if pages.load(index).is_pointer() {
                break Err(AddError::Exists);
            }
            if purpose == Use::Read && index >= inode.size().div_ceil(PAGE_SIZE) {
                break Err(AddError::PastEnd);
            }
            let short = match pages.store(index, entry, &mut stock) {
                Ok(old) => {
                    folio.attach(inode.of_pages());
                    inode.mapping().nrpages.fetch_add(1, Ordering::Relaxed);
                    break Ok(old);
                }
                Err(short) => short,
            };
            drop(pages);
            if source.fill(&mut stock, short).is_err() {
                break Err(AddError::NoMemory);
            }
        };
        match added {
            Ok(shadow) => {
                // Pages that are read ahead may come back, too: they are told by what stood there alone.
                self.lru.refault(cpu, folio, shadow);
                self.lru.stat().grow(cpu, folio.node(), NodeStat::FilePages, 1);
                self.lru.add(cpu, folio);
                Ok(folio)
            }
            Err(error) => {
                // Whoever found the frame before it was a folio may look at it now.
                if folio.put(2) {
                    self.release(folio);
                }
                Err(error)
            }
        }
    }

    /// Takes a locked folio out of the index of `inode` whatever references there are, as truncation does; the caller keeps
    /// its own. Whether it stood there.
    pub(crate) fn delete(&self, inode: &Inode<'p>, folio: Folio<'p>) -> bool {
        let Some(ground) = self.ground() else { return false };
        let cpu = self.machine().cpu();
        let mut stock = ground.nodes.stock();
        let mut pages = inode.mapping().pages.lock(cpu);
        if folio.mapping() != inode.of_pages() {
            return false;
        }
        pages.erase(folio.index(), &mut stock);
        self.taken_out(inode, folio);
        drop(pages);
        // The reference of the index; the caller has another.
        self.put(folio);
        true
    }

    /// If nobody but the index and the caller has a reference to a locked folio that is neither dirty nor being written,
    /// takes it out of the index of `inode` (Linux `__remove_mapping`). If it is `evicted`, its shadow stays there. The folio is frozen then,
    /// and the caller's alone.
    pub(crate) fn remove(&self, inode: &Inode<'p>, folio: Folio<'p>, evicted: bool) -> bool {
        let Some(ground) = self.ground() else { return false };
        let mut stock = ground.nodes.stock();
        let mut pages = inode.mapping().pages.lock(self.machine().cpu());
        if folio.mapping() != inode.of_pages() || !folio.freeze(2) {
            return false;
        }
        // Only now nobody can make it dirty any more.
        // What was written is read again only when the file system knows of it; behind that are zeroes.
        let unsettled = inode.settled()..inode.claimed();
        let is_known = !unsettled.contains(&folio.index()) || !inode.is_changed();
        if !is_known || folio.flags().intersects(FolioFlags::DIRTY | FolioFlags::WRITEBACK) {
            folio.thaw(2);
            return false;
        }
        // Only what goes makes the node older.
        match evicted.then(|| self.lru.eviction(folio)).flatten() {
            // Where a folio stood no node is missing.
            Some(shadow) => drop(pages.store(folio.index(), shadow, &mut stock)),
            None => drop(pages.erase(folio.index(), &mut stock)),
        }
        self.taken_out(inode, folio);
        true
    }

    /// Whether page `index` is in memory.
    pub fn is_cached(&self, inode: &Inode<'p>, index: u64) -> bool {
        let section = rcu::read_lock(self.machine().cpu());
        inode.mapping().pages.load(&section, index).is_pointer()
    }

    /// Takes page `index` out of memory if nobody uses it and its file has it (Linux `mapping_evict_folio`); whether it did.
    pub fn evict_page(&self, inode: &Inode<'p>, index: u64) -> bool {
        let Some(folio) = self.find(inode, index) else { return false };
        if !folio.try_lock() {
            self.put(folio);
            return false;
        }
        let is_out = self.remove(inode, folio, false);
        folio.unlock(self.machine().cpu());
        if is_out {
            self.release(folio);
        } else {
            self.put(folio);
        }
        is_out
    }

    /// A folio has left the index.
    fn taken_out(&self, inode: &Inode<'p>, folio: Folio<'p>) {
        folio.attach(Mapping::None);
        folio.clear_flags(FolioFlags::UNWRITTEN);
        inode.mapping().nrpages.fetch_sub(1, Ordering::Relaxed);
        self.lru.stat().shrink(self.machine().cpu(), folio.node(), NodeStat::FilePages, 1);
    }
}
