//! Disk images: regular files, and temporary disks that have no name.
//!
//! Owns: the image file, its lock and its size, fixed at opening.
//! Stays outside: what a guest may ask (`device`), and where its buffers are (`buffers`).
//! Invariants: an image is locked for as long as it is open, exclusively, or shared when it is
//! read-only; its size is a non-zero multiple of the sector size.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::SECTOR_SIZE;
use super::buffers::{Durability, GuestBuffers};

/// How the guest may use a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes; nobody else can open the image.
    ReadWrite,
    /// Reads only; others can read the image too.
    ReadOnly,
}

/// Why a disk could not be opened. Each text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no such file.
    #[error("disk image {} does not exist; check the path, or make an image with `vmm image`", .0.display())]
    Missing(PathBuf),
    /// It is a directory.
    #[error("disk image {} is a directory; give the path of an image file", .0.display())]
    Directory(PathBuf),
    /// It is a device, a pipe or a socket.
    #[error("disk image {} is not a regular file; give the path of an image file", .0.display())]
    NotAFile(PathBuf),
    /// The file's mode forbids the access.
    #[error("no permission to {verb} disk image {}; change its mode{hint}", path.display())]
    Permission {
        /// The image.
        path: PathBuf,
        /// "read" or "write".
        verb: &'static str,
        /// The other way out, if there is one.
        hint: &'static str,
    },
    /// Another process holds a conflicting lock.
    #[error("disk image {} is in use by another process; stop that process, or use a copy", .0.display())]
    Locked(PathBuf),
    /// The size is zero or not a whole number of sectors.
    #[error("disk image {} has {size} bytes; make its size a non-zero multiple of 512", path.display())]
    Size {
        /// The image.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// A temporary disk was asked for with a size it cannot have.
    #[error("a temporary disk cannot have {0} bytes; make its size a non-zero multiple of 512")]
    TemporarySize(u64),
    /// The host has no room for a temporary disk, or refuses one.
    #[error(
        "cannot make a temporary disk in {}: {source}; set TMPDIR to a directory with room",
        directory.display()
    )]
    Temporary {
        /// Where it was to be made.
        directory: PathBuf,
        /// The host's reason.
        source: io::Error,
    },
    /// Any other error of the host.
    #[error("cannot open disk image {}: {source}; check the file and its file system", path.display())]
    Open {
        /// The image.
        path: PathBuf,
        /// The host's reason.
        source: io::Error,
    },
}

/// An open disk image.
#[derive(Debug)]
pub struct DiskImage {
    file: File,
    size: u64,
    access: Access,
}

impl DiskImage {
    /// Opens and locks the image at `path`.
    pub fn open(path: &Path, access: Access) -> Result<Self, DiskError> {
        let host_error = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => DiskError::Missing(path.into()),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                let (verb, hint) = match access {
                    Access::ReadWrite => ("write", ", or open it read-only with `ro`"),
                    Access::ReadOnly => ("read", ""),
                };
                DiskError::Permission { path: path.into(), verb, hint }
            }
            _ => DiskError::Open { path: path.into(), source },
        };
        // Looked at before opening: opening a pipe can hang, and opening a device can act.
        let kind = fs::metadata(path).map_err(host_error)?;
        if kind.is_dir() {
            return Err(DiskError::Directory(path.into()));
        }
        if !kind.is_file() {
            return Err(DiskError::NotAFile(path.into()));
        }
        let writable = access == Access::ReadWrite;
        let file = OpenOptions::new().read(true).write(writable).open(path).map_err(host_error)?;
        let locked = match access {
            Access::ReadWrite => file.try_lock(),
            Access::ReadOnly => file.try_lock_shared(),
        };
        locked.map_err(|error| match error {
            TryLockError::WouldBlock => DiskError::Locked(path.into()),
            TryLockError::Error(source) => host_error(source),
        })?;
        // The size counts only from here on, when no other monitor can change it.
        let size = file.metadata().map_err(host_error)?.len();
        if !whole_sectors(size) {
            return Err(DiskError::Size { path: path.into(), size });
        }
        Ok(Self { file, size, access })
    }

    /// A writable disk of `size` bytes, all zero, that disappears when it is closed. It takes room
    /// in the temporary directory (`TMPDIR`, or /tmp) only for what is written to it.
    pub fn temporary(size: u64) -> Result<Self, DiskError> {
        if !whole_sectors(size) {
            return Err(DiskError::TemporarySize(size));
        }
        let directory = std::env::temp_dir();
        let make = || {
            let file = tempfile::tempfile_in(&directory)?;
            file.set_len(size)?;
            Ok(file)
        };
        let file = make().map_err(|source| DiskError::Temporary { directory: directory.clone(), source })?;
        Ok(Self { file, size, access: Access::ReadWrite })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the guest may do.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Fills `buffers` from `offset` bytes. Returns how many bytes were filled, also on failure.
    pub(super) fn read(&self, offset: u64, buffers: &mut GuestBuffers) -> (u64, io::Result<()>) {
        buffers.fill_from(&self.file, offset)
    }

    /// Writes `buffers` at `offset` bytes.
    pub(super) fn write(
        &self,
        offset: u64,
        buffers: &mut GuestBuffers,
        durability: Durability,
    ) -> io::Result<()> {
        buffers.drain_to(&self.file, offset, durability).1
    }

    /// Makes completed writes stable.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn whole_sectors(size: u64) -> bool {
    size > 0 && size.is_multiple_of(SECTOR_SIZE)
}
