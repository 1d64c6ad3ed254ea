//! A disk as one file: page after page (Linux `block/fops.c`).

use crate::drivers::blk::{self, Disk};
use mm::cache::{FileSystem, Run};
use mm::errno::Errno;
use mm::port::{BlockDevice, PAGE_SECTORS};

/// The number of a disk's one inode.
pub const NUMBER: u64 = 0;

impl FileSystem for Disk {
    fn device(&self) -> &dyn BlockDevice {
        self
    }

    fn is_disk(&self) -> bool {
        true
    }

    fn map(&self, _: u64, index: u64, pages: u64) -> Result<Run, Errno> {
        let all = self.sectors().div_ceil(PAGE_SECTORS);
        let rest = all.saturating_sub(index);
        let sector = (rest != 0).then(|| index * PAGE_SECTORS);
        Ok(Run { sector, pages: if rest == 0 { pages.max(1) } else { pages.clamp(1, rest) } })
    }

    fn allocate(&self, _: u64, index: u64, pages: u64) -> Result<(), Errno> {
        if self.is_read_only() {
            return Err(Errno::Erofs);
        }
        let end = index.checked_add(pages).ok_or(Errno::Enospc)?;
        if end <= self.sectors().div_ceil(PAGE_SECTORS) { Ok(()) } else { Err(Errno::Enospc) }
    }

    fn set_size(&self, _: u64, _: u64) -> Result<(), Errno> {
        // A disk is as large as it is.
        Err(Errno::Einval)
    }

    fn written(&self, _: u64, _: u64) {}

    fn sync_inode(&self, _: u64, _: bool) -> Result<(), Errno> {
        let disk = blk::disks().find(|disk| core::ptr::eq(*disk, self)).ok_or(Errno::Enodev)?;
        disk.flush().map_err(|_| Errno::Eio)
    }
}
