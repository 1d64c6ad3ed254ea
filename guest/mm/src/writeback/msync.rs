//! Making stable what was written through mappings (Linux `mm/msync.c`).

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use crate::errno::Errno;
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::space::layout::TASK_SIZE;
use crate::space::{Mm, Vm};
use crate::vma::VmFlags;
use bitflags::bitflags;

bitflags! {
    /// What `msync` does: Linux's `MS_*` flags, with its bits.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MsFlags: u32 {
        /// Nothing: what is dirty is written in time anyway.
        const ASYNC = 1;
        /// Nothing but a look at locks: all who show a file show the same pages.
        const INVALIDATE = 2;
        /// Waits until it is stable.
        const SYNC = 4;
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Makes what was written through shared mappings of files from `addr` on, for `len` bytes, stable if `flags` say so. Only
    /// where this code can wait.
    ///
    /// # Errors
    /// `Einval` for an address inside a page, for flags that exclude each other and for unknown ones; `Enomem` where nothing
    /// is mapped, though what is mapped is synced; `Ebusy` where pages are locked in memory that would be invalidated; those of
    /// [`Vm::fsync`].
    pub fn msync<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        flags: MsFlags,
        frames: &A,
    ) -> Result<(), Errno> {
        let both = MsFlags::ASYNC | MsFlags::SYNC;
        if addr.page_offset() != 0 || flags.contains(both) || !MsFlags::all().contains(flags) {
            return Err(Errno::Einval);
        }
        let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::Enomem)?;
        let end = addr.get().checked_add(len).filter(|end| *end <= TASK_SIZE).ok_or(Errno::Enomem)?;
        let (first, end) = (addr.get() >> PAGE_SHIFT, end >> PAGE_SHIFT);
        self.each_mapped(mm, first, end, |area, file, (from, to)| {
            if flags.contains(MsFlags::INVALIDATE) && area.flags.contains(VmFlags::LOCKED) {
                return Err(Errno::Ebusy);
            }
            match file {
                Some(file) if flags.contains(MsFlags::SYNC) && area.flags.contains(VmFlags::SHARED) => {
                    let index = area.pgoff + (from - area.start);
                    self.fsync_range(file, (index, index + (to - from) - 1), true, frames)
                }
                _ => Ok(()),
            }
        })
    }
}
