//! Another size of a file (Linux `ftruncate`).
//!
//! What is cut off of the page that the new end lies in is gone from the disk before the file system has the new size. Else a
//! file that grows again would show it after a crash: where a file ends within a page, all of that is read (Linux `ext4` writes
//! such a page before its transaction, `ext4_jbd2_inode_add_write`).

use super::SyncMode;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE};
use crate::cache::{FileMode, Inode, OpenFile};
use crate::errno::Errno;
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::space::Vm;
use crate::truncate::{MAX_PAGES, pages_of};

impl<'p, M: Machine> Vm<'p, M> {
    /// Gives a file the size of `size` bytes (Linux `ftruncate`). Writers are kept out meanwhile.
    ///
    /// # Errors
    /// `Einval` if the file is not open for writing; `Etxtbsy`; `Efbig`; `Erofs`; `Eio` where the page that the end lies in could not be
    /// read; `Enomem`. Nothing has changed then.
    pub fn truncate<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        size: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        let inode = file.inode();
        let _locked = inode.lock_to_change(self.machine().cpu())?;
        let old = inode.size();
        if !file.mode().contains(FileMode::WRITE) {
            return Err(Errno::Einval);
        }
        if pages_of(size) > MAX_PAGES {
            return Err(Errno::Efbig);
        }
        if inode.fs().device().is_read_only() {
            return Err(Errno::Erofs);
        }
        // What a mapping wrote behind the old end, or what lies behind the new one, must not come back.
        self.clear_rest(inode, size.min(old), frames)?;
        if size < old {
            inode.set_size(self.machine().cpu(), size);
            self.truncate_pages(inode, pages_of(size), frames)?;
            self.write_end(inode, size, frames)?;
        }
        inode.resize(self.machine().cpu(), size)
    }

    /// Writes the page that byte `end` lies in, if it is dirty. An error of the disk is for the next sync.
    fn write_end<A: FrameAllocator<'p>>(&self, inode: &Inode<'p>, end: u64, frames: &A) -> Result<(), Errno> {
        if end.is_multiple_of(PAGE_SIZE) {
            return Ok(());
        }
        let page = (end >> PAGE_SHIFT, end >> PAGE_SHIFT);
        self.write_pages(inode, page, SyncMode::All, u64::MAX, frames)?;
        self.wait_pages(inode, page);
        Ok(())
    }
}
