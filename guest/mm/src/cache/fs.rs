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
    /// Makes sure that pages `index..index + pages` have a place on the disk, before they become dirty.
    ///
    /// # Errors
    /// `Enospc`, `Efbig`, `Erofs`; nothing is lost then.
    fn allocate(&self, ino: u64, index: u64, pages: u64) -> Result<(), Errno>;
    /// The file ends at byte `size` from now on; what lay behind it on the disk is free. Not stable before
    /// [`FileSystem::sync_inode`].
    ///
    /// # Errors
    /// `Efbig`, `Erofs`.
    fn set_size(&self, ino: u64, size: u64) -> Result<(), Errno>;
    /// All of the file before byte `end` is on the disk now.
    fn written(&self, ino: u64, end: u64);
    /// Makes what the file system itself keeps of the inode stable: its size, where its pages are. `data_only`: nothing
    /// but what is needed to read its data (`fdatasync`).
    ///
    /// # Errors
    /// `Eio`, `Enospc`.
    fn sync_inode(&self, ino: u64, data_only: bool) -> Result<(), Errno>;
}
