//! Around the cache (Linux `iomap_dio_rw`): memory of the caller's from and to the disk, sector by sector.
//!
//! What is in memory of the range is written out before, and goes before and after a write, so that readers through the cache
//! see what is on the disk. What cannot be read from the disk yet is written through the cache, and out at once (Linux
//! `direct_write_fallback`): who syncs the file meanwhile finds it where he looks.

use super::SyncMode;
use crate::addr::{Order, PAGE_SHIFT, PAGE_SIZE, Pfn};
use crate::cache::{FileMode, Inode, OpenFile, Run, Settled};
use crate::errno::Errno;
use crate::io::Batch;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{IoOp, Machine, PAGE_SECTORS, PhysMem, SECTOR_BYTES};
use crate::space::Vm;
use core::ptr::NonNull;

/// What is asked for: so many bytes from a place of a file on, which are whole sectors.
#[derive(Clone, Copy)]
struct Request<'a> {
    op: IoOp,
    pos: u64,
    pages: &'a [Pfn],
    bytes: u64,
}

impl Request<'_> {
    /// The first page of the file, and the last.
    fn range(&self) -> (u64, u64) {
        (self.pos >> PAGE_SHIFT, (self.pos + self.bytes - 1) >> PAGE_SHIFT)
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Reads up to `bytes` bytes of a file from `pos` on into `pages`, as far as it goes; how many. Only where this code can
    /// wait.
    ///
    /// # Errors
    /// `Eacces`; `Einval` unless `pos` and `bytes` are whole sectors and the pages have room for them; `Eio`, `Enomem`, or what
    /// the file system says.
    ///
    /// # Safety
    /// The pages are the caller's: nobody else touches them until this returns.
    pub unsafe fn read_direct<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        pos: u64,
        pages: &[Pfn],
        bytes: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        let mut request = checked(file, FileMode::READ, Request { op: IoOp::Read, pos, pages, bytes })?;
        let inode = file.inode();
        let bytes = bytes.min(inode.size().saturating_sub(pos));
        if bytes == 0 {
            return Ok(0);
        }
        request.bytes = bytes.next_multiple_of(SECTOR_BYTES);
        self.make_readable(inode, request.range(), frames)?;
        // SAFETY: promised by the caller.
        unsafe { self.transfer_direct(inode, request, frames) }?;
        Ok(bytes)
    }

    /// Writes `bytes` bytes of `pages` to a file from `pos` on, which grows if it ends before that; how many. Nothing is stable
    /// before a sync. Only where this code can wait.
    ///
    /// # Errors
    /// `Eacces`; `Etxtbsy`; `Einval` unless `pos` and `bytes` are whole sectors and the pages hold as many; `Ebusy` if somebody holds on to
    /// a page of the range, and nothing was written; `Eio`, `Enomem`, or what the file system says.
    ///
    /// # Safety
    /// Nobody frees the pages, or writes them, until this returns.
    pub unsafe fn write_direct<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        pos: u64,
        pages: &[Pfn],
        bytes: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        let request = checked(file, FileMode::WRITE, Request { op: IoOp::Write, pos, pages, bytes })?;
        let inode = file.inode();
        if bytes == 0 {
            return Ok(0);
        }
        let _locked = inode.lock_to_change(self.machine().cpu())?;
        let (first, last) = request.range();
        if last >= inode.settled() {
            return self.write_through(inode, request, frames);
        }
        self.clear_gap(inode, pos, frames)?;
        self.write_and_wait(inode, (first, last), frames)?;
        self.invalidate(inode, first, last + 1, frames)?;
        (first..=last).try_for_each(|index| self.cache().give_place_now(inode, index))?;
        // SAFETY: promised by the caller.
        let written = unsafe { self.transfer_direct(inode, request, frames) };
        // Who read meanwhile may have seen what was there before. A page that somebody holds on to stays as it was read, and
        // the next sync says so (Linux `dio_warn_stale_pagecache`).
        if self.invalidate(inode, first, last + 1, frames).is_err() {
            inode.mapping().wb_err.set(Errno::Eio);
        }
        written?;
        self.grow_to(inode, pos + bytes)?;
        Ok(bytes)
    }

    /// Writes through the cache and waits; what is in memory then is what is on the disk.
    fn write_through<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        request: Request<'_>,
        frames: &A,
    ) -> Result<u64, Errno> {
        let (mut at, (first, last)) = (0, request.range());
        let mut source = |to: NonNull<u8>, len: usize| {
            self.copy_direct(request.pages, at, to, len, Side::Pages);
            at += len as u64;
        };
        let written = self.write_locked(inode, request.pos, request.bytes, frames, &mut source)?;
        // All before it must be written, too, for the file system to believe it of these pages.
        self.write_and_wait(inode, (first.min(inode.settled()), last), frames)?;
        self.cache().settle(inode, inode.size());
        self.invalidate_clean(inode, first, last + 1);
        Ok(written)
    }

    /// What is in memory of the range can be read from the disk when this returns: it is there, and the file system knows. For
    /// that all before it is written, too.
    fn make_readable<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        (first, last): (u64, u64),
        frames: &A,
    ) -> Result<(), Errno> {
        let mut from = first.min(inode.settled());
        loop {
            self.write_and_wait(inode, (from, last), frames)?;
            if last < inode.settled() {
                return Ok(());
            }
            match self.cache().settle(inode, inode.size()) {
                Settled::All => return Ok(()),
                // Somebody fills a hole meanwhile.
                Settled::UpTo(page) if page <= last => from = page,
                Settled::Stuck if last >= inode.settled() => return Err(Errno::Eio),
                _ => return Ok(()),
            }
        }
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

    /// Asks for all of it and waits.
    ///
    /// # Safety
    /// The pages are the caller's until this returns.
    unsafe fn transfer_direct<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        request: Request<'_>,
        frames: &A,
    ) -> Result<(), Errno> {
        if !request.pos.is_multiple_of(PAGE_SIZE) {
            return self.transfer_parts(inode, request, frames);
        }
        let mut placed = Ok(());
        let done = self.cache().io().batch(inode.fs().device(), frames, |batch| {
            placed = self.ask_direct(inode, request, batch);
        });
        placed.and(done.map_err(Errno::from))
    }

    /// Pages of memory that are pages of the file, but the last may be cut off.
    fn ask_direct<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        request: Request<'_>,
        batch: &Batch<'_, 'p, M, A>,
    ) -> Result<(), Errno> {
        let mut requests = batch.gather(request.op);
        let mut rest =
            request.pages.get(..request.bytes.div_ceil(PAGE_SIZE) as usize).unwrap_or(request.pages);
        let (mut index, mut bytes) = (request.pos >> PAGE_SHIFT, request.bytes);
        while !rest.is_empty() {
            let run = match request.op {
                IoOp::Read => inode.fs().map(inode.number(), index, rest.len() as u64)?,
                _ => Run { sector: inode.fs().place(inode.number(), index)?, pages: 1 },
            };
            let count = (run.pages as usize).clamp(1, rest.len());
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            for (n, &pfn) in (0..).zip(now) {
                let length = bytes.min(PAGE_SIZE);
                match run.sector {
                    // SAFETY: promised by the caller of `transfer_direct`; the batch is waited for.
                    Some(sector) => unsafe { requests.push(sector + n * PAGE_SECTORS, pfn, length) },
                    // SAFETY: the caller's page, which is read into.
                    None if request.op == IoOp::Read => unsafe { self.machine().physmem().zero(pfn) },
                    None => return Err(Errno::Eio),
                }
                bytes -= length;
            }
            (rest, index) = (later, index + count as u64);
        }
        Ok(())
    }

    /// Parts of pages of the file, one after the other by way of a page of our own, because a request begins with a page.
    fn transfer_parts<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        request: Request<'_>,
        frames: &A,
    ) -> Result<(), Errno> {
        let owned = frames.alloc(GfpFlags::GFP_KERNEL, Order::ZERO)?;
        let page = owned.pfn();
        let between = self.machine().physmem().ptr(page.addr()).ok_or(Errno::Efault);
        let mut done = 0;
        let result = between.and_then(|between| {
            while done < request.bytes {
                let at = request.pos + done;
                let (index, offset) = (at >> PAGE_SHIFT, at % PAGE_SIZE);
                let part = (request.bytes - done).min(PAGE_SIZE - offset);
                if request.op == IoOp::Write {
                    self.copy_direct(request.pages, done, between, part as usize, Side::Pages);
                }
                let sector = match request.op {
                    IoOp::Read => inode.fs().map(inode.number(), index, 1)?.sector,
                    _ => Some(inode.fs().place(inode.number(), index)?.ok_or(Errno::Eio)?),
                };
                match sector {
                    Some(sector) => self.cache().io().batch(inode.fs().device(), frames, |batch| {
                        let sector = sector + offset / SECTOR_BYTES;
                        // SAFETY: the page is ours, and the batch is waited for.
                        unsafe { batch.gather(request.op).push(sector, page, part) };
                    })?,
                    // SAFETY: the page is ours.
                    None => unsafe { self.machine().physmem().zero(page) },
                }
                if request.op == IoOp::Read {
                    self.copy_direct(request.pages, done, between, part as usize, Side::Between);
                }
                done += part;
            }
            Ok(())
        });
        let freed = frames.free(owned).map_err(|_| Errno::Ecorrupt);
        result.and(freed)
    }

    /// Copies `len` bytes between byte `at` of `pages` and `other`, from where `from` says.
    fn copy_direct(&self, pages: &[Pfn], mut at: u64, mut other: NonNull<u8>, mut len: usize, from: Side) {
        while len != 0 {
            let offset = at % PAGE_SIZE;
            let part = len.min((PAGE_SIZE - offset) as usize);
            let page = pages.get((at >> PAGE_SHIFT) as usize);
            let Some(page) = page.and_then(|pfn| self.machine().physmem().ptr(pfn.addr())) else { return };
            // SAFETY: `part` bytes from there on are of one page of the caller's, and `other` has `len` of them; they are
            // different memory.
            unsafe {
                let page = page.add(offset as usize);
                match from {
                    Side::Pages => other.copy_from_nonoverlapping(page, part),
                    Side::Between => page.copy_from_nonoverlapping(other, part),
                }
                other = other.add(part);
            }
            (at, len) = (at + part as u64, len - part);
        }
    }
}

/// Where a copy comes from.
#[derive(Clone, Copy)]
enum Side {
    /// The pages of the caller.
    Pages,
    /// The other.
    Between,
}

/// The request, if it may be made.
fn checked<'a>(file: &OpenFile<'_>, mode: FileMode, request: Request<'a>) -> Result<Request<'a>, Errno> {
    if !file.mode().contains(mode) {
        return Err(Errno::Eacces);
    }
    let room = request.pages.len() as u64 * PAGE_SIZE;
    let is_whole = request.pos.is_multiple_of(SECTOR_BYTES) && request.bytes.is_multiple_of(SECTOR_BYTES);
    let fits = request.bytes <= room && request.pos.checked_add(request.bytes).is_some();
    if is_whole && fits { Ok(request) } else { Err(Errno::Einval) }
}
