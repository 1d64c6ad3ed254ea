//! Disk images: regular files, and temporary disks that have no name.
//!
//! Owns: the image file, its lock and its size, fixed at opening, and the way around the page cache.
//! Stays outside: what a guest may ask (`device`), where its buffers are (`buffers`), and who moves the bytes
//! (`engine`).
//! Invariants: an image is locked for as long as it is open, exclusively, or shared when it is
//! read-only; its size is a non-zero multiple of the sector size.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use images::{ImageError, SwapSpec};
use shared::disk::uuid::Uuid;

use super::SECTOR_SIZE;
use super::buffers::GuestBuffers;
use super::readahead;

/// How the guest may use a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes; nobody else can open the image.
    ReadWrite,
    /// Reads only; others can read the image too.
    ReadOnly,
}

/// What the host's page cache does for a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// Completed writes may sit in the host's page cache; a flush brings them to the disk (fdatasync).
    #[default]
    Writeback,
    /// Transfers go around the page cache (O_DIRECT). A flush still empties the drive's own cache.
    None,
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
    /// A temporary disk could not be made a swap area.
    #[error(transparent)]
    Swap(#[from] ImageError),
    /// `cache=none` on a file system that always caches.
    #[error("disk image {} cannot be used around the page cache: {source}; use cache=writeback", path.display())]
    Direct {
        /// The image.
        path: PathBuf,
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

/// The image opened once more, around the page cache.
#[derive(Debug)]
struct Direct {
    file: File,
    /// What buffers must be aligned to, in bytes.
    memory: u64,
    /// What offsets and lengths must be aligned to, in bytes.
    offset: u64,
}

/// An open disk image.
#[derive(Debug)]
pub struct DiskImage {
    file: File,
    direct: Option<Direct>,
    size: u64,
    access: Access,
    punches: bool,
    /// Bytes that the host reads ahead through its page cache.
    pub(super) ahead: u64,
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
        Ok(Self::new(file, size, access))
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
        Ok(Self::new(file, size, Access::ReadWrite))
    }

    /// The same, that begins as a swap area.
    pub fn temporary_swap(size: u64) -> Result<Self, DiskError> {
        let disk = Self::temporary(size)?;
        // Nobody else ever sees it, so all have the same name.
        let uuid = Some(Uuid::from_random(*b"a temporary disk"));
        images::format_swap(&disk.file, &SwapSpec { size, uuid, ..SwapSpec::default() })?;
        Ok(disk)
    }

    /// The file behind it.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn new(file: File, size: u64, access: Access) -> Self {
        let punches = access == Access::ReadWrite && can_punch(&file, size);
        let ahead = readahead::extend(&file);
        Self { file, direct: None, size, access, punches, ahead }
    }

    /// The same disk with another cache mode.
    pub fn with_cache(self, cache: Cache) -> Result<Self, DiskError> {
        let direct = match cache {
            Cache::Writeback => None,
            Cache::None => {
                let open = Direct::open(&self.file, self.access);
                Some(open.map_err(|source| DiskError::Direct { path: path_of(&self.file), source })?)
            }
        };
        Ok(Self { direct, ..self })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the guest may do.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Whether ranges of it can be given back to the file system.
    pub(super) fn punches(&self) -> bool {
        self.punches
    }

    /// The descriptor for a transfer of `buffers` at `offset` bytes: around the page cache where that was asked for
    /// and the alignment allows it. The kernel keeps both ways coherent.
    pub(super) fn descriptor_for(&self, offset: u64, buffers: &GuestBuffers) -> RawFd {
        match &self.direct {
            Some(direct)
                if offset.is_multiple_of(direct.offset)
                    && buffers.is_aligned(direct.memory, direct.offset) =>
            {
                direct.file.as_raw_fd()
            }
            _ => self.descriptor(),
        }
    }

    /// Whether transfers go around the page cache where they can.
    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// How many bytes of it the host reads ahead of transfers in a row; 0 around the page cache.
    pub(super) fn ahead(&self) -> u64 {
        if self.is_direct() { 0 } else { self.ahead }
    }

    /// The descriptor for everything else.
    pub(super) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Direct {
    /// Opens `file` once more. Its lock stays with the first descriptor.
    fn open(file: &File, access: Access) -> io::Result<Self> {
        let direct = OpenOptions::new()
            .read(true)
            .write(access == Access::ReadWrite)
            .custom_flags(libc::O_DIRECT)
            .open(own_path(file))?;
        let (memory, offset) = direct_alignment(&direct)?;
        Ok(Self { file: direct, memory, offset })
    }
}

/// The alignment that `file` wants for transfers around the page cache: of memory, and of offsets and lengths.
fn direct_alignment(file: &File) -> io::Result<(u64, u64)> {
    // `struct statx` in 32-bit words; libc does not name the last two of these everywhere.
    const MASK: usize = 0;
    const MEMORY: usize = 38;
    const OFFSET: usize = 39;
    const STATX_DIOALIGN: u32 = 0x2000;
    let mut words = [0u32; 64];
    const { assert!(size_of::<libc::statx>() == size_of::<[u32; 64]>()) };
    // SAFETY: an empty path names the open descriptor itself; `words` has the size of one result.
    let result = unsafe {
        let stat = words.as_mut_ptr().cast::<libc::statx>();
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, STATX_DIOALIGN, stat)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if words[MASK] & STATX_DIOALIGN == 0 || words[OFFSET] == 0 {
        // Kernels before 6.1 do not tell; a page is enough for every disk they drive.
        return Ok((4096, 4096));
    }
    Ok((words[MEMORY].max(1).into(), words[OFFSET].into()))
}

/// Whether the file system can punch holes. Asked for a range after the end, where there is nothing to lose.
fn can_punch(file: &File, size: u64) -> bool {
    let Ok(end) = libc::off_t::try_from(size) else { return false };
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: takes no pointers; the descriptor is open.
    unsafe { libc::fallocate(file.as_raw_fd(), mode, end, SECTOR_SIZE as libc::off_t) == 0 }
}

/// A path that opens the same file once more, whatever its name is now.
fn own_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn path_of(file: &File) -> PathBuf {
    fs::read_link(own_path(file)).unwrap_or_else(|_| own_path(file))
}

fn whole_sectors(size: u64) -> bool {
    size > 0 && size.is_multiple_of(SECTOR_SIZE)
}
