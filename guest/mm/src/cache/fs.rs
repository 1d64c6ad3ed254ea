//! What a file system does for the cache: it knows where the pages of an inode are (Linux `get_block_t` and
//! `struct address_space_operations`).

use crate::errno::Errno;
use crate::port::BlockDevice;

/// Pages in a row, from the one that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The sector of the first; `None` where nothing is on the disk, which reads as zeroes.
    pub sector: Option<u64>,
    /// How many; at least one.
    pub pages: u64,
}

/// A file system, or a disk as one file. Calls may wait, but for [`FileSystem::map`] of what was mapped before.
pub trait FileSystem: Sync {
    /// The disk under it.
    fn device(&self) -> &dyn BlockDevice;
    /// Whether it is a disk as one file.
    fn is_disk(&self) -> bool {
        false
    }
    /// Where page `index` of inode `ino` is, and up to `pages` pages behind it.
    ///
    /// # Errors
    /// `Ecorrupt`; `Eio`.
    fn map(&self, ino: u64, index: u64, pages: u64) -> Result<Run, Errno>;
    /// The sector that page `index` is written to, whether or not it was written before; `None` before it has a place.
    ///
    /// # Errors
    /// As [`FileSystem::map`].
    fn place(&self, ino: u64, index: u64) -> Result<Option<u64>, Errno> {
        self.map(ino, index, 1).map(|run| run.sector)
    }
    /// Bytes from the start of the file that the disk has; what follows reads as zeroes.
    fn valid(&self, _ino: u64) -> u64 {
        u64::MAX
    }
    /// Makes sure that pages `index..index + pages` have a place on the disk, before they are written. What read as zeroes
    /// does so until then.
    ///
    /// # Errors
    /// `Enospc`, `Efbig`, `Erofs`; nothing is lost then.
    fn allocate(&self, ino: u64, index: u64, pages: u64) -> Result<(), Errno>;
    /// Pages `index..index + pages` have no place from now on, and read as zeroes: nothing was written there. Does not wait.
    ///
    /// # Errors
    /// `Enospc` if the file system has no room to say so; nothing has changed then.
    fn release(&self, _ino: u64, _index: u64, _pages: u64) -> Result<(), Errno> {
        Ok(())
    }
    /// The file ends at byte `size` from now on; what lay behind it on the disk is free. Not stable before
    /// [`FileSystem::sync_inode`].
    ///
    /// # Errors
    /// `Efbig`, `Erofs`.
    fn set_size(&self, ino: u64, size: u64) -> Result<(), Errno>;
    /// All of the file before byte `end` can be read from the disk now. Does not wait.
    fn written(&self, ino: u64, end: u64);
    /// Makes what the file system itself keeps of the inode stable: its size, where its pages are. `data_only`: nothing
    /// but what is needed to read its data (`fdatasync`).
    ///
    /// # Errors
    /// `Eio`, `Enospc`.
    fn sync_inode(&self, ino: u64, data_only: bool) -> Result<(), Errno>;
}
