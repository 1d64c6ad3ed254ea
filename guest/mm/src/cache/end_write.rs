//! Writing a page out: from dirty to being written, and the end of that (Linux `folio_start_writeback`,
//! `folio_end_writeback`).
//!
//! Owns: the flags and marks of the states. Stays outside: which pages, in which order (`writeback`). Invariants: a page that is
//! being written has a reference for that; dirty flag and mark agree under the lock of the index, as do those of writeback.

use super::{Inode, PageCache};
use crate::addr::Pfn;
use crate::errno::Errno;
use crate::folio::{Folio, FolioFlags};
use crate::io::EndIo;
use crate::mutant::planted;
use crate::port::{IoError, Machine};
use crate::vmstat::{NodeStat, ZoneStat};
use crate::xarray::Mark;
use core::sync::atomic::Ordering;

impl<'p, M: Machine> PageCache<'p, M> {
    /// A locked page is going to be written from now on, if it is dirty; whether it was. From then on it is clean: a write
    /// after this makes it dirty again.
    pub(crate) fn start_writeback(&self, inode: &Inode<'p>, folio: Folio<'p>) -> bool {
        let (cpu, stat, index) = (self.machine().cpu(), self.lru().stat(), folio.index());
        let mut pages = inode.mapping().pages.lock(cpu);
        pages.clear_mark(index, Mark::Towrite);
        if folio.mapping() != inode.of_pages()
            || !folio.clear_flags(FolioFlags::DIRTY).contains(FolioFlags::DIRTY)
        {
            return false;
        }
        pages.clear_mark(index, Mark::Dirty);
        pages.set_mark(index, Mark::Writeback);
        folio.set_flags(FolioFlags::WRITEBACK);
        folio.get(1);
        stat.shrink(cpu, folio.node(), NodeStat::Dirty, 1);
        stat.grow(cpu, folio.node(), NodeStat::Writeback, 1);
        true
    }

    /// A page that had a place where nothing was written: now it was, or its place is given up, for it holds what is not this
    /// file's to show. With the lock of the index held.
    fn end_first_write(&self, inode: &Inode<'p>, folio: Folio<'p>, is_written: bool) {
        let flags = folio.flags();
        // One that has become dirty meanwhile is written again, to the same place.
        if !flags.contains(FolioFlags::UNWRITTEN) || !is_written && flags.contains(FolioFlags::DIRTY) {
            return;
        }
        if is_written
            || planted("vm::write_gap.failed_writes_count")
            || inode.fs().release(inode.number(), folio.index(), 1).is_ok()
        {
            folio.clear_flags(FolioFlags::UNWRITTEN);
        } else {
            inode.set_stuck(folio.index());
        }
    }

    /// The page is being written no more. The reference of its writing goes.
    pub(crate) fn end_writeback(&self, inode: &Inode<'p>, folio: Folio<'p>, result: Result<(), Errno>) {
        let (cpu, stat) = (self.machine().cpu(), self.lru().stat());
        if let Err(error) = result {
            inode.mapping().wb_err.set(error);
            inode.mapping().failures.fetch_add(1, Ordering::Release);
        }
        let mut pages = inode.mapping().pages.lock(cpu);
        if folio.mapping() == inode.of_pages() {
            pages.clear_mark(folio.index(), Mark::Writeback);
            self.end_first_write(inode, folio, result.is_ok());
        }
        drop(pages);
        stat.shrink(cpu, folio.node(), NodeStat::Writeback, 1);
        if !planted("vm::reclaim.zone_waits_for_ever") {
            stat.shrink_zone(cpu, folio.zone(), ZoneStat::WritePending, 1);
        }
        stat.grow(cpu, folio.node(), NodeStat::Written, 1);
        self.lru().written(cpu, folio.node(), 1);
        if folio.clear_flags(FolioFlags::READAHEAD).contains(FolioFlags::READAHEAD) {
            // Reclaim has waited for it.
            self.lru().rotate_reclaimable(cpu, folio);
        }
        folio.release(cpu, FolioFlags::WRITEBACK);
        self.put(folio);
    }
}

impl<'p, M: Machine> EndIo for PageCache<'p, M> {
    fn end_io(&self, written: &[Pfn], result: Result<(), IoError>) {
        let Some(ground) = self.ground() else { return };
        let folios = written.iter().filter_map(|&pfn| Folio::of(ground.table, pfn));
        for folio in folios {
            // The inode stays while a page of it is being written.
            if let Some(inode) = self.inode_of(folio) {
                self.end_writeback(inode, folio, result.map_err(Errno::from));
            }
        }
    }
}
