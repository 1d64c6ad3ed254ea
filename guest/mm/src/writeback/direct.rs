//! Around the cache (Linux `iomap_dio_rw`): memory of the caller's from and to the disk.
//!
//! What is in memory of the range is written out before, and goes before and after a write, so that readers through the cache
//! see what is on the disk.

use super::SyncMode;
use super::write::grow_to;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, Pfn};
use crate::cache::{FileMode, Inode, OpenFile, Run};
use crate::errno::Errno;
use crate::io::Batch;
use crate::phys::FrameAllocator;
use crate::port::{IoOp, Machine, PAGE_SECTORS, PhysMem};
use crate::space::Vm;

/// What is asked for.
#[derive(Clone, Copy)]
struct Request<'a> {
    op: IoOp,
    first: u64,
    pages: &'a [Pfn],
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Reads a file from `pos` on into `pages`, as far as it goes; how many bytes. Only where this code can wait.
    ///
    /// # Errors
    /// `Eacces`; `Einval` if `pos` is not the start of a page; `Eio`, or what the file system says.
    ///
    /// # Safety
    /// The pages are the caller's: nobody else touches them until this returns.
    pub unsafe fn read_direct<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        pos: u64,
        pages: &[Pfn],
        frames: &A,
    ) -> Result<u64, Errno> {
        let first = first_page(file, pos, FileMode::READ)?;
        let inode = file.inode();
        let bytes = (pages.len() as u64 * PAGE_SIZE).min(inode.size().saturating_sub(pos));
        let Some(last) = (first + bytes.div_ceil(PAGE_SIZE)).checked_sub(1).filter(|_| bytes != 0) else {
            return Ok(0);
        };
        self.write_and_wait(inode, (first, last), frames)?;
        let pages = pages.get(..(last + 1 - first) as usize).unwrap_or(pages);
        self.transfer_direct(inode, Request { op: IoOp::Read, first, pages }, frames)?;
        Ok(bytes)
    }

    /// Writes `pages` to a file from `pos` on, which grows if it ends before that; how many bytes. Nothing is stable before a
    /// sync. Only where this code can wait.
    ///
    /// # Errors
    /// `Eacces`; `Einval` if `pos` is not the start of a page; `Ebusy` if somebody holds on to a page of the range, and nothing
    /// was written; `Eio`, or what the file system says.
    ///
    /// # Safety
    /// Nobody frees the pages until this returns.
    pub unsafe fn write_direct<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        pos: u64,
        pages: &[Pfn],
        frames: &A,
    ) -> Result<u64, Errno> {
        let first = first_page(file, pos, FileMode::WRITE)?;
        let (inode, count) = (file.inode(), pages.len() as u64);
        if count == 0 {
            return Ok(0);
        }
        let _locked = inode.lock(self.machine().cpu());
        let last = first + count - 1;
        // Where the file system does not know yet that pages are written, those before must be for it to believe it of these.
        let from = if last < inode.settled() { first } else { first.min(inode.settled()) };
        self.write_and_wait(inode, (from, last), frames)?;
        self.invalidate(inode, first, first + count, frames)?;
        (first..=last).try_for_each(|index| self.cache().give_place(inode, index))?;
        let written = self.transfer_direct(inode, Request { op: IoOp::Write, first, pages }, frames);
        // Who read meanwhile may have seen what was there before. A page that somebody holds on to stays as it was read, and
        // the next sync says so (Linux `dio_warn_stale_pagecache`).
        if self.invalidate(inode, first, first + count, frames).is_err() {
            inode.mapping().wb_err.set(Errno::Eio);
        }
        written?;
        grow_to(inode, pos + count * PAGE_SIZE)?;
        self.cache().settle(inode, inode.size());
        Ok(count * PAGE_SIZE)
    }

    /// What is dirty of the range in memory is on the disk when this returns (Linux `filemap_write_and_wait_range`).
    fn write_and_wait<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        range: (u64, u64),
        frames: &A,
    ) -> Result<(), Errno> {
        let before = inode.mapping().failures();
        self.write_pages(inode, range, SyncMode::All, u64::MAX, frames)?;
        self.wait_pages(inode, range);
        if inode.mapping().failures() == before { Ok(()) } else { Err(Errno::Eio) }
    }

    /// Asks for all pages and waits.
    fn transfer_direct<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        request: Request<'_>,
        frames: &A,
    ) -> Result<(), Errno> {
        let mut placed = Ok(());
        let done = self.cache().io().batch(inode.fs().device(), frames, |batch| {
            placed = self.ask_direct(inode, request, batch);
        });
        placed.and(done.map_err(Errno::from))
    }

    fn ask_direct<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        request: Request<'_>,
        batch: &Batch<'_, 'p, M, A>,
    ) -> Result<(), Errno> {
        let mut requests = batch.gather(request.op);
        let mut rest = request.pages;
        let mut index = request.first;
        while !rest.is_empty() {
            let run = match request.op {
                IoOp::Read => inode.fs().map(inode.number(), index, rest.len() as u64)?,
                _ => Run { sector: inode.fs().place(inode.number(), index)?, pages: 1 },
            };
            let count = (run.pages as usize).clamp(1, rest.len());
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            for (n, &pfn) in (0..).zip(now) {
                match run.sector {
                    // SAFETY: promised by the caller of the two functions above; the batch is waited for.
                    Some(sector) => unsafe { requests.push(sector + n * PAGE_SECTORS, pfn, PAGE_SIZE) },
                    // SAFETY: the caller's page, which is read into.
                    None if request.op == IoOp::Read => unsafe { self.machine().physmem().zero(pfn) },
                    None => return Err(Errno::Eio),
                }
            }
            (rest, index) = (later, index + count as u64);
        }
        Ok(())
    }
}

/// The first page of a request, if it may be made.
fn first_page(file: &OpenFile<'_>, pos: u64, mode: FileMode) -> Result<u64, Errno> {
    if !file.mode().contains(mode) {
        return Err(Errno::Eacces);
    }
    if pos.is_multiple_of(PAGE_SIZE) { Ok(pos >> PAGE_SHIFT) } else { Err(Errno::Einval) }
}
