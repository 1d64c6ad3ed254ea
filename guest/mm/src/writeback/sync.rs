//! Making what was written stable (Linux `vfs_fsync_range`, `ksys_sync_file_range`, `ksys_sync`).
//!
//! The order: pages, then the disk's own cache, then what the file system keeps, which names these pages.

use super::SyncMode;
use crate::cache::{Inode, OpenFile, Settled};
use crate::errno::Errno;
use crate::phys::FrameAllocator;
use crate::port::{Cpu, IoError, IoOp, Machine, Purpose};
use crate::space::Vm;
use bitflags::bitflags;

/// All pages that a file can have.
pub(super) const ALL: (u64, u64) = (0, (1 << 36) - 1);

bitflags! {
    /// What `sync_file_range` does, in this order, by Linux's names and bits.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct RangeSync: u32 {
        /// Waits for what is being written.
        const WAIT_BEFORE = 1;
        /// Starts to write what is dirty.
        const WRITE = 2;
        /// Waits for that.
        const WAIT_AFTER = 4;
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Makes all that was written to a file before this call stable: its pages and what the file system keeps of it; with
    /// `data_only` of the latter only what is needed to read them.
    ///
    /// # Errors
    /// An error of a write that this open file was not told of yet; of the disk or of the file system.
    pub fn fsync<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        data_only: bool,
        frames: &A,
    ) -> Result<(), Errno> {
        self.fsync_range(file, ALL, data_only, frames)
    }

    /// As [`Vm::fsync`], of pages `pages.0..=pages.1` (Linux `vfs_fsync_range`).
    ///
    /// # Errors
    /// As [`Vm::fsync`].
    pub(super) fn fsync_range<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        pages: (u64, u64),
        data_only: bool,
        frames: &A,
    ) -> Result<(), Errno> {
        let inode = file.inode();
        let synced = self.sync_pages(inode, pages, data_only, frames);
        inode.mapping().wb_err.check_and_advance(&file.wb_seen).and(synced)
    }

    /// As [`Vm::fsync`], of a file that is not open; errors of writes are left for those who have it open.
    ///
    /// # Errors
    /// Of the disk or of the file system.
    pub fn sync_inode<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        data_only: bool,
        frames: &A,
    ) -> Result<(), Errno> {
        self.sync_pages(inode, ALL, data_only, frames)
    }

    fn sync_pages<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        pages: (u64, u64),
        data_only: bool,
        frames: &A,
    ) -> Result<(), Errno> {
        // Asked for before the size: what is appended from here on is for the next sync, which then finds that it is needed.
        let changes = inode.changes();
        let size = inode.size();
        // Of a part the age of the rest stays what it is.
        if pages == ALL {
            inode.mark_clean();
        }
        let sent = self.write_pages(inode, pages, SyncMode::All, u64::MAX, frames);
        if pages == ALL {
            inode.requeue(self.machine().cpu().now());
        }
        self.wait_pages(inode, pages);
        sent?;
        loop {
            self.flush_disk(inode, frames)?;
            if inode.is_stable(changes) {
                return Ok(());
            }
            match self.cache().settle(inode, size) {
                Settled::All => break,
                // All that was asked for can be read; what lies behind is not stable yet.
                Settled::UpTo(page) if page > pages.1 => {
                    return inode.fs().sync_inode(inode.number(), data_only);
                }
                Settled::UpTo(page) => {
                    // Somebody fills a hole meanwhile; what lies behind cannot be read before that is written, too.
                    self.write_pages(inode, (page, pages.1), SyncMode::All, u64::MAX, frames)?;
                    self.wait_pages(inode, (page, pages.1));
                }
                Settled::Stuck => return Err(Errno::Eio),
            }
        }
        inode.fs().sync_inode(inode.number(), data_only)?;
        inode.mark_stable(changes);
        Ok(())
    }

    /// Has the disk make stable what it has taken. If it cannot, everybody who has the file open is told, as of a write: no later
    /// flush says so again.
    fn flush_disk<A: FrameAllocator<'p>>(&self, inode: &Inode<'p>, frames: &A) -> Result<(), Errno> {
        let device = inode.fs().device();
        let flushed =
            self.cache().io().batch(device, frames, |batch| batch.command(IoOp::Flush, Purpose::File, 0, 0));
        match flushed {
            // A disk without a cache of its own.
            Ok(()) | Err(IoError::Unsupported) => Ok(()),
            Err(error) => {
                inode.mapping().wb_err.set(error.into());
                Err(error.into())
            }
        }
    }

    /// Writes pages `first..=last` of a file as `how` says (Linux `sync_file_range`). Nothing is made stable.
    ///
    /// # Errors
    /// With one of the waits an error of a write that this open file was not told of yet; what the file system says.
    pub fn sync_range<A: FrameAllocator<'p>>(
        &self,
        file: &OpenFile<'p>,
        pages: (u64, u64),
        how: RangeSync,
        frames: &A,
    ) -> Result<(), Errno> {
        let (inode, mapping) = (file.inode(), file.inode().mapping());
        if how.contains(RangeSync::WAIT_BEFORE) {
            self.wait_pages(inode, pages);
            mapping.wb_err.check_and_advance(&file.wb_seen)?;
        }
        if how.contains(RangeSync::WRITE) {
            let waits = how.contains(RangeSync::WAIT_BEFORE | RangeSync::WAIT_AFTER);
            let mode = if waits { SyncMode::All } else { SyncMode::None };
            self.write_pages(inode, pages, mode, u64::MAX, frames)?;
        }
        if how.contains(RangeSync::WAIT_AFTER) {
            self.wait_pages(inode, pages);
            mapping.wb_err.check_and_advance(&file.wb_seen)?;
        }
        Ok(())
    }

    /// Makes everything stable (Linux `sync`).
    ///
    /// # Errors
    /// The first one.
    pub fn sync_all<A: FrameAllocator<'p>>(&self, frames: &A) -> Result<(), Errno> {
        let mut result = Ok(());
        self.cache().for_each_inode(|inode| {
            if inode.dirtied_when().is_some() || inode.is_changed() || inode.mapping().is_writing() {
                result = result.and(self.sync_inode(inode, false, frames));
            }
        });
        result
    }
}
