//! What lies behind the end of a file goes (Linux `truncate_setsize`, `truncate_pagecache`, `truncate_inode_pages_range`).
//!
//! The size has changed first: from then on no fault brings a page behind it. Then the entries go, copies included, then the
//! pages, each under its lock, and then entries once more: of a copy that was made between the two. The rest of the last
//! page is zero from then on, in memory and, because it is dirty if it has a place there, on the disk.

use super::{MAX_PAGES, each_page};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::cache::Inode;
use crate::errno::Errno;
use crate::folio::{Folio, FolioFlags};
use crate::mutant::planted;
use crate::phys::FrameAllocator;
use crate::port::{Machine, PhysMem};
use crate::space::{Copies, Vm};

impl<'p, M: Machine> Vm<'p, M> {
    /// Takes all pages of a file from page `first` on away, whatever they hold; the size is smaller already.
    ///
    /// # Errors
    /// `Ecorrupt`.
    pub(crate) fn truncate_pages<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        first: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        let (cache, rest) = (self.cache(), MAX_PAGES - first.min(MAX_PAGES));
        let copies = if planted("vm::file.copies_stay") { Copies::Keep } else { Copies::Drop };
        self.unmap_file(inode, first, rest, copies, frames)?;
        let mut result = Ok(());
        each_page(cache, inode, first, MAX_PAGES, |folio| {
            self.lock_quiet(inode, folio);
            result = self.take_out(inode, folio, frames);
            folio.unlock(self.machine().cpu());
            result.is_ok()
        });
        result?;
        self.unmap_file(inode, first, rest, copies, frames)
    }

    /// Locks a page and waits until it is not being written any more.
    pub(super) fn lock_quiet(&self, inode: &Inode<'p>, folio: Folio<'p>) {
        let (io, device) = (self.cache().io(), inode.fs().device());
        io.lock_folio(device, folio);
        io.wait_folio(device, folio, FolioFlags::WRITEBACK);
    }

    /// Takes a locked page out of the index, with all entries that map it and all that it holds.
    fn take_out<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        folio: Folio<'p>,
        frames: &A,
    ) -> Result<(), Errno> {
        if folio.mapping() != inode.of_pages() {
            return Ok(());
        }
        // A fault that had looked at the size before it changed may have mapped it.
        if folio.mapcount() != 0 {
            self.unmap_file(inode, folio.index(), 1, Copies::Keep, frames)?;
        }
        self.cache().cancel_dirty(inode, folio);
        self.cache().delete(inode, folio);
        Ok(())
    }

    /// Fills what lies behind byte `size` in its page with zeroes.
    pub(crate) fn clear_rest<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        size: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        let (index, offset) = (size >> PAGE_SHIFT, size % PAGE_SIZE);
        if offset == 0 {
            return Ok(());
        }
        let cache = self.cache();
        let is_known = cache.find(inode, index).inspect(|folio| cache.put(*folio)).is_some();
        let run = inode.fs().map(inode.number(), index, 1)?;
        if !is_known && run.sector.is_none() {
            return Ok(());
        }
        let folio = self.page_in(inode, index, frames)?;
        self.zero_from(folio, offset);
        // A hole reads as zeroes: it needs no place, and there may be no room for one.
        let made_dirty = match inode.fs().place(inode.number(), index) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => cache.make_dirty(inode, folio),
            Err(error) => Err(error),
        };
        folio.unlock(self.machine().cpu());
        cache.put(folio);
        made_dirty
    }

    /// Fills what a page, which is locked and up to date, has from byte `offset` on with zeroes: what lies behind the end of its
    /// file.
    pub(crate) fn zero_from(&self, folio: Folio<'p>, offset: u64) {
        let rest = PAGE_SIZE.saturating_sub(offset);
        if let Some(page) = self.machine().physmem().ptr(folio.pfn().addr()) {
            // SAFETY: the page is in the direct map, and no more than it has is written; it is locked and up to date, and
            // whoever writes it through a mapping meanwhile writes behind the end.
            unsafe { page.add((PAGE_SIZE - rest) as usize).write_bytes(0, rest as usize) };
        }
    }

    /// Page `index`, up to date and locked, with a reference; read if it is not in memory.
    fn page_in<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        index: u64,
        frames: &A,
    ) -> Result<Folio<'p>, Errno> {
        let cache = self.cache();
        loop {
            let folio = cache.locked_page(inode, index, frames)?;
            if folio.is_uptodate() {
                return Ok(folio);
            }
            let read = cache.read_folio(inode, folio, frames);
            cache.put(folio);
            read?;
        }
    }
}
