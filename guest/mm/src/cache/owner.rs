//! From a folio to its inode, and whether it is dirty.

use super::{Inode, PageCache};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::errno::Errno;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::port::{Cpu, Machine};
use crate::sync::rcu;
use crate::vmstat::NodeStat;
use crate::xarray::{Cursor, Mark};

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

    /// Gives page `index` a place on the disk, before it becomes dirty. It is in memory and locked, so nobody reads what is
    /// there meanwhile.
    ///
    /// # Errors
    /// Those of [`FileSystem::allocate`](super::FileSystem::allocate).
    pub(crate) fn give_place(&self, inode: &Inode<'p>, index: u64) -> Result<(), Errno> {
        if inode.fs().place(inode.number(), index)?.is_none() {
            let allocated = inode.fs().allocate(inode.number(), index, 1);
            inode.mark_changed();
            allocated?;
        }
        // Until the file system is told that it is written, the page would be read as zeroes.
        if index >= inode.settled() {
            inode.mark_changed();
        }
        Ok(())
    }

    /// Tells the file system how far the file is on the disk: up to its first page that is dirty or being written (Linux does
    /// that by the extent, when a write ends). `size` was its size before those were looked for.
    pub(crate) fn settle(&self, inode: &Inode<'p>, size: u64) {
        let section = rcu::read_lock(self.machine().cpu());
        let first =
            |mark| inode.mapping().pages.find(&section, 0, u64::MAX, Some(mark)).map(|found| found.index);
        let pending = [first(Mark::Dirty), first(Mark::Writeback)].into_iter().flatten().min();
        drop(section);
        let end = pending.map_or(size, |index| size.min(index << PAGE_SHIFT));
        inode.fs().written(inode.number(), end);
        inode.set_settled(end.div_ceil(PAGE_SIZE));
    }

    /// Marks a folio of `inode` as dirty, if it still is one (Linux `filemap_dirty_folio`); whether it was clean.
    pub(crate) fn set_dirty(&self, inode: &Inode<'p>, folio: Folio<'_>) -> bool {
        if folio.flags().contains(FolioFlags::DIRTY) {
            return false;
        }
        let cpu = self.machine().cpu();
        let mut pages = inode.mapping().pages.lock(cpu);
        if folio.mapping() != inode.of_pages()
            || folio.set_flags(FolioFlags::DIRTY).contains(FolioFlags::DIRTY)
        {
            return false;
        }
        pages.set_mark(folio.index(), Mark::Dirty);
        inode.mark_dirty(cpu.now());
        drop(pages);
        self.lru().stat().grow(cpu, folio.node(), NodeStat::Dirty, 1);
        self.lru().stat().grow(cpu, folio.node(), NodeStat::Dirtied, 1);
        true
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
        }
    }
}
