//! Pages of files (Linux `do_read_fault`, `do_cow_fault`, `do_shared_fault`, `filemap_fault`).
//!
//! A page is mapped by whoever has its lock, and only while it belongs to the file: so truncation, which locks it, too,
//! finds every entry or is found out. A shared entry becomes writable when its page is dirty, and not before, so that the
//! first write to a clean page is noticed; cleaning takes the right back under the lock of the page. Nothing here waits:
//! what is not there, or what somebody else has, is for [`Vm::wait`].

use super::{Flavour, GFP_PAGE, Need, Stop, Touch};
use crate::addr::{Order, PAGE_SIZE};
use crate::cache::{FileRef, Inode};
use crate::folio::{Folio, FolioFlags};
use crate::pgtable::PteSlot;
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, PhysMem, Pte, PteBits, PteCodec};
use crate::space::{Codec, Rss};
use crate::vma::VmFlags;
use crate::vmstat::NodeStat;

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// Fills the empty entry in `slot` of an area that shows `file`.
    pub(super) fn file_page(&self, slot: PteSlot<'p>, file: FileRef) -> Result<Flavour, Stop> {
        let inode = self.vm.cache().file_of(file).inode();
        let index = self.vma.index_of(self.vpn);
        if index >= inode.size().div_ceil(PAGE_SIZE) {
            return Err(Stop::PastEnd);
        }
        if !self.write && self.map_around(inode, slot)? {
            return Ok(Flavour::FileAround);
        }
        let folio = self.locked_page(inode, index)?;
        let result = match (self.write, self.vma.is_private()) {
            (false, _) => self.map_page(slot, folio).map(|()| Flavour::FileRead),
            (true, true) => self.map_copy(slot, folio),
            (true, false) => self.map_shared(slot, folio),
        };
        folio.unlock(self.vm.machine().cpu());
        self.vm.cache().put(folio);
        result
    }

    /// The page at `index`, locked and up to date, with a reference; the caller gives back both.
    fn locked_page(&self, inode: &Inode<'p>, index: u64) -> Result<Folio<'p>, Stop> {
        let cache = self.vm.cache();
        let folio = cache.find(inode, index).ok_or(Stop::Wait(Need::Page))?;
        if !folio.try_lock() {
            cache.put(folio);
            return Err(Stop::Wait(Need::Page));
        }
        let stop = if folio.mapping() != inode.of_pages() {
            Stop::Again
        } else if index >= inode.size().div_ceil(PAGE_SIZE) {
            Stop::PastEnd
        } else if !folio.is_uptodate() || folio.flags().contains(FolioFlags::READAHEAD) && !self.resumed {
            Stop::Wait(Need::Page)
        } else {
            return Ok(folio);
        };
        folio.unlock(self.vm.machine().cpu());
        cache.put(folio);
        Err(stop)
    }

    /// Maps a locked page for reading. The entry takes a reference of its own.
    fn map_page(&self, slot: PteSlot<'p>, folio: Folio<'p>) -> Result<(), Stop> {
        self.enter_page(slot, folio, self.rights() - PteBits::WRITE)
    }

    /// Maps a locked page that will be written by all who show it.
    fn map_shared(&self, slot: PteSlot<'p>, folio: Folio<'p>) -> Result<Flavour, Stop> {
        if !folio.flags().contains(FolioFlags::DIRTY) {
            return Err(Stop::Wait(Need::Write));
        }
        self.enter_page(slot, folio, self.rights() | PteBits::DIRTY)?;
        Ok(Flavour::FileShared)
    }

    fn enter_page(&self, slot: PteSlot<'p>, folio: Folio<'p>, bits: PteBits) -> Result<(), Stop> {
        let (cpu, stat) = (self.vm.machine().cpu(), self.vm.stat());
        let _locked = self.vm.lock_table(slot);
        if !slot.load().is_none() {
            return Err(Stop::Again);
        }
        folio.get(1);
        if folio.add_mapped(1) {
            stat.grow(cpu, folio.node(), NodeStat::FileMapped, 1);
        }
        self.mm.counters().add_rss(Rss::File, 1);
        if self.vma.flags().contains(VmFlags::LOCKED) {
            self.vm.count_mlocked(folio, Level::PTE, true);
        }
        slot.set(Codec::<M>::present(folio.pfn().addr(), bits));
        Ok(())
    }

    /// Maps a copy of a locked page.
    fn map_copy(&self, slot: PteSlot<'p>, folio: Folio<'p>) -> Result<Flavour, Stop> {
        let anchor = self.anchor()?;
        let (pfn, _) = self.frames.alloc(GFP_PAGE, Order::ZERO)?.into_raw();
        // SAFETY: the new frame is ours. The other is kept by our reference; who writes the file meanwhile may or may not be
        // seen, word by word, as with any read of a file.
        unsafe { self.vm.machine().physmem().copy(folio.pfn(), pfn) };
        let copy = self.new_folio(pfn, self.vpn, anchor)?;
        let locked = self.vm.lock_table(slot);
        if !slot.load().is_none() {
            drop(locked);
            return self.lost(copy);
        }
        self.count_mapped(&locked, copy, Level::PTE);
        slot.set(self.exclusive_entry(pfn, Level::PTE));
        Ok(Flavour::FileCow)
    }

    /// A file that is shared may be written, but the entry in `slot` does not say so: its page was clean.
    pub(super) fn file_write(&self, slot: PteSlot<'p>, entry: Pte) -> Result<Flavour, Stop> {
        let is_same =
            |now: Pte| Codec::<M>::is_present(now) && Codec::<M>::addr(now) == Codec::<M>::addr(entry);
        let folio = {
            let _locked = self.vm.lock_table(slot);
            let now = slot.load();
            // The reference of the entry keeps it here, ours from here on.
            let folio = self.vm.folio_of(now).filter(|_| is_same(now)).ok_or(Stop::Again)?;
            folio.get(1);
            folio
        };
        let result = if !folio.try_lock() {
            Err(Stop::Wait(Need::Page))
        } else {
            let result = if folio.flags().contains(FolioFlags::DIRTY) {
                let _locked = self.vm.lock_table(slot);
                let more = PteBits::WRITE | PteBits::DIRTY | PteBits::ACCESSED;
                slot.update(|pte| if is_same(pte) { Codec::<M>::set(pte, more) } else { pte });
                Ok(Flavour::FileShared)
            } else {
                Err(Stop::Wait(Need::Write))
            };
            folio.unlock(self.vm.machine().cpu());
            result
        };
        self.vm.cache().put(folio);
        result
    }
}
