//! From a folio to its inode, and whether it is dirty.

use super::{Inode, PageCache};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, Pfn};
use crate::errno::Errno;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::mutant::planted;
use crate::port::{Cpu, Machine};
use crate::sync::rcu;
use crate::vmstat::{NodeStat, ZoneStat};
use crate::xarray::{Cursor, Mark};

/// How far a file can be read from the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    /// As far as it was asked for.
    All,
    /// Up to this page, which is dirty or being written for the first time.
    UpTo(u64),
    /// Up to one whose first write failed, and whose place could not be given up.
    Stuck,
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// What a folio of the cache belongs to; `None` if it is in no index. The caller keeps it there, by its lock, or keeps the
    /// inode.
    #[inline]
    pub(crate) fn inode_of(&self, folio: Folio<'_>) -> Option<&'p Inode<'p>> {
        let Mapping::File(at) = folio.mapping() else { return None };
        // SAFETY: the address was exposed by `Inode::of_pages`, and the inode lives while a folio belongs to it.
        unsafe { core::ptr::with_exposed_provenance::<Inode<'p>>(at as usize).as_ref() }
    }

    /// The first folio from page `first` to page `last` that is in memory, with a reference more, and its page.
    pub(crate) fn find_from(&self, inode: &Inode<'p>, first: u64, last: u64) -> Option<(u64, Folio<'p>)> {
        let section = rcu::read_lock(self.machine().cpu());
        let mut cursor = Cursor::new(first, last);
        while let Some(found) = cursor.next(&inode.mapping().pages, &section) {
            // One that goes meanwhile is skipped, as a shadow is.
            if found.entry.is_pointer()
                && let Some(folio) = self.find(inode, found.index)
            {
                return Some((found.index, folio));
            }
        }
        None
    }

    /// Makes a page of `inode`, which is locked and in memory, dirty, and sees to it that it has a place on the disk. Marked
    /// first: from then on nobody takes it for written (see [`PageCache::settle`]).
    ///
    /// # Errors
    /// Those of [`FileSystem::allocate`](super::FileSystem::allocate); the page is as it was then.
    pub(crate) fn make_dirty(&self, inode: &Inode<'p>, folio: Folio<'p>) -> Result<(), Errno> {
        let claimed = self.mark_dirty(inode, folio, |inode| self.claim(inode, folio));
        let placed = claimed.unwrap_or(Ok(())).and_then(|()| self.give_place(inode, folio));
        if placed.is_err() && claimed.is_some() {
            self.cancel_dirty(inode, folio);
        }
        placed
    }

    /// A page beyond all that were ever dirty is going to be written. Places before it that the file has for what was never
    /// written would be read then, so they are given up. With the lock of the index held.
    fn claim(&self, inode: &Inode<'p>, folio: Folio<'p>) -> Result<(), Errno> {
        let (first, index) = (inode.claimed(), folio.index());
        if index < first {
            return Ok(());
        }
        if index > first && !planted("vm::write_gap.room_is_shown") {
            inode.fs().release(inode.number(), first, index - first)?;
        }
        folio.set_flags(FolioFlags::UNWRITTEN);
        inode.set_claimed(index + 1);
        Ok(())
    }

    /// Gives a dirty page a place on the disk.
    fn give_place(&self, inode: &Inode<'p>, folio: Folio<'p>) -> Result<(), Errno> {
        let index = folio.index();
        if inode.fs().place(inode.number(), index)?.is_none() {
            folio.set_flags(FolioFlags::UNWRITTEN);
            let allocated = inode.fs().allocate(inode.number(), index, 1);
            inode.mark_changed();
            if allocated.is_err() {
                folio.clear_flags(FolioFlags::UNWRITTEN);
            }
            allocated?;
        }
        // Until the file system is told that it is written, the page would be read as zeroes.
        if index >= inode.settled() {
            inode.mark_changed();
        }
        Ok(())
    }

    /// Gives page `index`, which is not in memory, a place on the disk, so that it can be written at once. Before that it reads
    /// as zeroes.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn give_place_now(&self, inode: &Inode<'p>, index: u64) -> Result<(), Errno> {
        if inode.fs().place(inode.number(), index)?.is_some() {
            return Ok(());
        }
        let allocated = inode.fs().allocate(inode.number(), index, 1);
        inode.mark_changed();
        allocated
    }

    /// Tells the file system how far the file can be read from the disk: up to its first page whose place was never written
    /// (Linux does that by the extent, when a write ends). `size` was its size before its pages were written. The page that
    /// has still to be written before all up to there can be read, if there is one.
    pub(crate) fn settle(&self, inode: &Inode<'p>, size: u64) -> Settled {
        let pages = inode.mapping().pages.lock(self.machine().cpu());
        let size = size.min(inode.size());
        let last = size.div_ceil(PAGE_SIZE).min(inode.claimed());
        let unwritten = [Mark::Dirty, Mark::Writeback].map(|mark| {
            let mut at = inode.settled();
            loop {
                let last = last.checked_sub(1).filter(|&last| at <= last)?;
                let found = pages.find(at, last, Some(mark))?;
                let pfn = found.entry.as_handle().and_then(Pfn::new)?;
                let folio = Folio::of(self.ground()?.table, pfn)?;
                if folio.flags().contains(FolioFlags::UNWRITTEN) {
                    break Some(found.index);
                }
                at = found.index + 1;
            }
        });
        let unwritten = unwritten.into_iter().flatten().min();
        let stuck = Some(inode.stuck()).filter(|&index| index < last);
        let end = unwritten.into_iter().chain(stuck).min().unwrap_or(last);
        inode.fs().written(inode.number(), size.min(end << PAGE_SHIFT));
        inode.set_settled(end);
        match (unwritten, stuck) {
            (Some(index), None) => Settled::UpTo(index),
            (_, Some(_)) => Settled::Stuck,
            (None, None) => Settled::All,
        }
    }

    /// Marks a folio of `inode` as dirty, if it still is one (Linux `filemap_dirty_folio`); whether it was clean.
    pub(crate) fn set_dirty(&self, inode: &Inode<'p>, folio: Folio<'p>) -> bool {
        self.mark_dirty(inode, folio, |_| ()).is_some()
    }

    /// As [`PageCache::set_dirty`], and does something at the same time, with the lock of the index.
    fn mark_dirty<R>(
        &self,
        inode: &Inode<'p>,
        folio: Folio<'p>,
        work: impl FnOnce(&Inode<'p>) -> R,
    ) -> Option<R> {
        if folio.flags().contains(FolioFlags::DIRTY) {
            return None;
        }
        let cpu = self.machine().cpu();
        let mut pages = inode.mapping().pages.lock(cpu);
        if folio.mapping() != inode.of_pages()
            || folio.set_flags(FolioFlags::DIRTY).contains(FolioFlags::DIRTY)
        {
            return None;
        }
        pages.set_mark(folio.index(), Mark::Dirty);
        inode.mark_dirty(cpu.now());
        let done = work(inode);
        drop(pages);
        self.lru().stat().grow(cpu, folio.node(), NodeStat::Dirty, 1);
        self.lru().stat().grow_zone(cpu, folio.zone(), ZoneStat::WritePending, 1);
        self.lru().stat().grow(cpu, folio.node(), NodeStat::Dirtied, 1);
        Some(done)
    }

    /// Page `index` of a file, which was made clean, is not on the disk after all (Linux `folio_redirty_for_writepage`).
    pub fn redirty(&self, inode: &Inode<'p>, index: u64) {
        if let Some(folio) = self.find(inode, index) {
            self.set_dirty(inode, folio);
            self.put(folio);
        }
    }

    /// What a locked folio holds is not needed any more or is about to be written (Linux `folio_cancel_dirty`).
    pub(crate) fn cancel_dirty(&self, inode: &Inode<'p>, folio: Folio<'_>) {
        let cpu = self.machine().cpu();
        let mut pages = inode.mapping().pages.lock(cpu);
        if folio.mapping() == inode.of_pages()
            && folio.clear_flags(FolioFlags::DIRTY).contains(FolioFlags::DIRTY)
        {
            pages.clear_mark(folio.index(), Mark::Dirty);
            self.lru().stat().shrink(cpu, folio.node(), NodeStat::Dirty, 1);
            self.lru().stat().shrink_zone(cpu, folio.zone(), ZoneStat::WritePending, 1);
        }
    }
}
