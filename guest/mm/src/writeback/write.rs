//! Writing through the cache (Linux `generic_perform_write`).

use super::SyncMode;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::cache::{FileMode, Inode, OpenFile};
use crate::errno::Errno;
use crate::folio::{Folio, FolioFlags};
use crate::phys::FrameAllocator;
use crate::port::{Machine, PhysMem};
use crate::space::Vm;
use core::ptr::NonNull;

/// The largest file, in bytes.
const MAX_SIZE: u64 = 1 << (PAGE_SHIFT + 36 - 1);

/// A part of a page.
#[derive(Clone, Copy)]
struct Part {
    index: u64,
    offset: u64,
    bytes: u64,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Writes `len` bytes of a file from `pos` on, which grows if it ends before that. `source` fills pieces of memory in order,
    /// that many bytes from the pointer each, while others may read them. How many were written. Only where this code can wait.
    ///
    /// # Errors
    /// If nothing was written: `Eacces` if it is not open for writing; `Etxtbsy`; `Efbig`, `Enospc`, `Enomem`, `Eio`, or what the file
    /// system says. With [`FileMode::SYNC`] also what a sync says.
    pub fn write<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        pos: u64,
        len: u64,
        frames: &A,
        mut source: impl FnMut(NonNull<u8>, usize),
    ) -> Result<u64, Errno> {
        if !file.mode().contains(FileMode::WRITE) {
            return Err(Errno::Eacces);
        }
        let inode = file.inode();
        let locked = inode.lock_to_change(self.machine().cpu())?;
        let written = self.write_locked(inode, pos, len, frames, &mut source)?;
        drop(locked);
        if file.mode().contains(FileMode::SYNC) && written != 0 {
            let pages = (pos >> PAGE_SHIFT, (pos + written - 1) >> PAGE_SHIFT);
            self.write_pages(inode, pages, SyncMode::All, u64::MAX, frames)?;
            self.fsync(file, false, frames)?;
        }
        Ok(written)
    }

    /// As [`Vm::write`], with the inode locked.
    pub(super) fn write_locked<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        pos: u64,
        len: u64,
        frames: &A,
        source: &mut impl FnMut(NonNull<u8>, usize),
    ) -> Result<u64, Errno> {
        let end = pos.checked_add(len).filter(|&end| end <= MAX_SIZE).ok_or(Errno::Efbig)?;
        if len != 0 {
            self.clear_gap(inode, pos, frames)?;
        }
        let mut at = pos;
        while at < end {
            let (index, offset) = (at >> PAGE_SHIFT, at % PAGE_SIZE);
            let part = Part { index, offset, bytes: (end - at).min(PAGE_SIZE - offset) };
            self.throttle_writer(inode);
            match self.write_part(inode, part, frames, source) {
                Ok(()) => at += part.bytes,
                Err(error) if at == pos => return Err(error),
                Err(_) => break,
            }
        }
        Ok(at - pos)
    }

    /// Writes into one page.
    fn write_part<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        part: Part,
        frames: &A,
        source: &mut impl FnMut(NonNull<u8>, usize),
    ) -> Result<(), Errno> {
        let (cpu, cache) = (self.machine().cpu(), self.cache());
        let folio = self.page_to_write(inode, part, frames)?;
        let at = folio.pfn().addr().checked_add(part.offset);
        let at = at.and_then(|at| self.machine().physmem().ptr(at)).ok_or(Errno::Efault);
        let written = at.and_then(|at| {
            cache.make_dirty(inode, folio)?;
            source(at, part.bytes as usize);
            folio.set_flags(FolioFlags::UPTODATE);
            self.grow_to(inode, part.index * PAGE_SIZE + part.offset + part.bytes)
        });
        folio.unlock(cpu);
        cache.lru().mark_accessed(cpu, folio);
        cache.put(folio);
        written
    }

    /// The page that `part` is in, locked, with all that will not be overwritten, and a reference for the caller (Linux
    /// `block_write_begin`).
    fn page_to_write<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        part: Part,
        frames: &A,
    ) -> Result<Folio<'p>, Errno> {
        let cache = self.cache();
        loop {
            let folio = cache.locked_page(inode, part.index, frames)?;
            if folio.is_uptodate() || part.bytes == PAGE_SIZE {
                return Ok(folio);
            }
            if part.index * PAGE_SIZE >= inode.size() {
                // SAFETY: the page is locked and not up to date, so nobody else touches it.
                unsafe { self.machine().physmem().zero(folio.pfn()) };
                return Ok(folio);
            }
            // A page without a place becomes zeroes.
            let read = cache.read_folio(inode, folio, frames);
            cache.put(folio);
            read?;
        }
    }

    /// Something is going to be written from byte `pos` on. If that is behind the end, what a mapping wrote between the two must
    /// not be shown then (Linux `iomap_zero_range` in front of an extending write).
    pub(super) fn clear_gap<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        pos: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        let size = inode.size();
        if pos > size { self.clear_rest(inode, size, frames) } else { Ok(()) }
    }

    /// The file has at least `end` bytes; of the page in which it ended the rest is zero already.
    pub(super) fn grow_to(&self, inode: &Inode<'p>, end: u64) -> Result<(), Errno> {
        if end > inode.size() { inode.resize(self.machine().cpu(), end) } else { Ok(()) }
    }
}
