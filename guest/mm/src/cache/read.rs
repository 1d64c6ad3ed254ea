//! Reading a file through the cache (Linux `filemap_read`).
//!
//! Owns: finding the pages of a read, waiting for them, reading those again that could not be read. Stays outside: which pages
//! are read ahead (`readahead`), where bytes go (the caller's sink). Invariants: a byte is shown only from a page that is up to
//! date and that the reader has a reference to; no lock is held while it is shown.

use super::fill::page_of;
use super::{FileMode, Inode, OpenFile, PageCache};
use crate::addr::PAGE_SIZE;
use crate::errno::Errno;
use crate::folio::{Folio, FolioFlags};
use crate::phys::FrameAllocator;
use crate::port::{Machine, PhysMem};
use core::ptr::NonNull;

impl<'p, M: Machine> PageCache<'p, M> {
    /// Shows up to `len` bytes of a file from `pos` on, in order and in pieces of a page at most: `sink` reads that many
    /// bytes from the pointer, while others may write them. How many there were: less than `len` at the end of the file.
    /// Only where this code can wait.
    ///
    /// # Errors
    /// If nothing was shown: `Eacces` if it is not open for reading; `Eio`, `Enomem`, or what the file system says.
    #[inline]
    pub fn read(
        &self,
        file: &OpenFile<'p>,
        pos: u64,
        len: u64,
        frames: &impl FrameAllocator<'p>,
        mut sink: impl FnMut(NonNull<u8>, usize),
    ) -> Result<u64, Errno> {
        if !file.mode().contains(FileMode::READ) {
            return Err(Errno::Eacces);
        }
        let inode = file.inode();
        let end = pos.saturating_add(len);
        let mut last = file.ra.prev_pos();
        let mut at = pos;
        let mut failed = None;
        let mut next = None;
        while at < end.min(inode.size()) {
            let index = page_of(at);
            let folio = match next.take().or_else(|| self.find_near(inode, index)) {
                // All that a hit needs.
                Some(folio) if folio.is_uptodate() && !folio.flags().contains(FolioFlags::READAHEAD) => folio,
                found => match self.get_page(file, index, page_of(end - 1) + 1 - index, found, frames) {
                    Ok(Some(folio)) => folio,
                    // Look again: at the size, too.
                    Ok(None) => continue,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                },
            };
            // The size may have changed while we waited, and with it what is behind the end.
            let limit = end.min(inode.size());
            let stop = limit.min((index + 1) * PAGE_SIZE);
            if stop < limit {
                // On its way from memory while this one is shown. Not where the file ends: if it grows, this page goes on.
                next = self.find_near(inode, index + 1);
            }
            // Bytes of the page that was read last are no new use of it.
            if page_of(last.wrapping_sub(1)) != index {
                self.lru().mark_accessed(self.machine().cpu(), folio);
            }
            let bytes = stop.saturating_sub(at);
            let shown = self.show(folio, at % PAGE_SIZE, bytes, &mut sink);
            self.put(folio);
            if !shown || bytes == 0 {
                break;
            }
            at += bytes;
            last = at;
        }
        next.into_iter().for_each(|folio| self.put(folio));
        file.ra.set_prev_pos(last);
        match failed {
            Some(error) if at == pos => Err(error),
            _ => Ok(at - pos),
        }
    }

    /// [`PageCache::find`], of a page that will be shown: it is on its way from memory while the folio is looked at.
    #[inline(always)]
    fn find_near(&self, inode: &Inode<'p>, index: u64) -> Option<Folio<'p>> {
        let physmem = self.machine().physmem();
        self.find_and(inode, index, |pfn| {
            if let Some(at) = physmem.ptr(pfn.addr()) {
                physmem.prefetch(at);
            }
        })
    }

    /// Gives `sink` bytes of a page; false if the page is not in the direct map.
    #[inline(always)]
    fn show(
        &self,
        folio: Folio<'p>,
        offset: u64,
        bytes: u64,
        sink: &mut impl FnMut(NonNull<u8>, usize),
    ) -> bool {
        let at = folio.pfn().addr().checked_add(offset);
        let at = at.and_then(|at| self.machine().physmem().ptr(at));
        at.map(|at| sink(at, bytes as usize)).is_some()
    }

    /// Page `index` of a file up to date, with a reference for the caller, who reads `request` pages from there; `found` is
    /// what is in memory (Linux `filemap_get_pages`). `None` if it has come meanwhile, or the file ends before it.
    #[cold]
    fn get_page(
        &self,
        file: &OpenFile<'p>,
        index: u64,
        request: u64,
        mut found: Option<Folio<'p>>,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<Option<Folio<'p>>, Errno> {
        let inode = file.inode();
        loop {
            if found.is_none() {
                self.sync_readahead(file, index, request, frames);
                found = self.find(inode, index);
            }
            let folio = match found.take() {
                Some(folio) => folio,
                // There was no memory to read ahead.
                None => match self.create_folio(inode, index, frames)? {
                    Some(folio) => folio,
                    None => return Ok(None),
                },
            };
            if folio.flags().contains(FolioFlags::READAHEAD) {
                self.async_readahead(file, folio, request, frames);
            }
            match self.update(file, folio, frames) {
                Ok(true) => return Ok(Some(folio)),
                // It was taken out meanwhile, or somebody else has read it and could not.
                Ok(false) => self.put(folio),
                Err(error) => {
                    self.put(folio);
                    return Err(error);
                }
            }
            found = self.find(inode, index);
        }
    }

    /// Waits until a page is up to date; reads it if it is not and nobody does. False if it is to be looked for again (Linux
    /// `filemap_update_page`).
    fn update(
        &self,
        file: &OpenFile<'p>,
        folio: Folio<'p>,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<bool, Errno> {
        if folio.is_uptodate() {
            return Ok(true);
        }
        let (inode, cpu) = (file.inode(), self.machine().cpu());
        if !folio.try_lock() {
            self.io().wait_folio(inode.fs().device(), folio, FolioFlags::LOCKED);
            return Ok(folio.is_uptodate());
        }
        if folio.mapping() != inode.of_pages() {
            folio.unlock(cpu);
            return Ok(false);
        }
        if folio.is_uptodate() {
            folio.unlock(cpu);
            return Ok(true);
        }
        self.read_folio(inode, folio, frames).inspect_err(|_| file.ra.shrink())?;
        Ok(true)
    }
}
