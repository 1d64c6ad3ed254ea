//! Files: which disk or partition holds which, and how paths name them.
//!
//! Owns: the table of mounted volumes, and paths. Stays outside: pages of files (`mm::cache`), formats (`shared::disk`).
//!
//! | file | job |
//! |---|---|
//! | `device` | a disk as one file |
//! | `volume` | a data volume as a file system |
//! | `table` | the volume's table on its disk |
//! | `names` | what inodes are called |
//! | `mount` | finding volumes: partitions, `root=`, `disk.N.fs=` |
//!
//! Paths: `NAME` and `/NAME` are files of the root volume, `/mnt/N/NAME` of the one of `disk.N.fs=`, `/dev/vda` a disk.

mod device;
mod mount;
mod names;
mod table;
mod volume;

use crate::drivers::blk;
use crate::memory::flusher;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, IO};
use mm::cache::{FileMode, FileSystem, OpenFile};
use mm::errno::Errno;
use mm::sync::Once;
pub use mount::numbered as partition;
pub use names::{device, write_path};
pub use table::Buffer;
pub use volume::DataVolume;

/// Volumes that there can be: the root, and those of `disk.N.fs=` for N from 0 on.
const MAX_VOLUMES: usize = 5;

static VOLUMES: [Once<Option<DataVolume>>; MAX_VOLUMES] = [const { Once::new(None) }; MAX_VOLUMES];

/// Requests of the page cache go to the disks from here on, and the volumes that the command line names are there. Once.
/// A root that it does not name is looked for on the first disk, when somebody asks for it.
pub fn boot(cmdline: &str) {
    // SAFETY: disks tell the end of requests that they took, once each, with the cookie that they got.
    blk::tell_ends_to(|cookie, result| unsafe { IO.end_io(cookie, result) });
    mount::all(cmdline, &VOLUMES);
}

/// The volumes, each with its number: 0 for the root.
///
/// # Errors
/// `Enomem`, `Eio`: nobody knows whether there is a root.
pub fn volumes() -> Result<impl Iterator<Item = (usize, &'static DataVolume)>, Errno> {
    // A disk that nobody asks for files is not read.
    mount::root_if_unnamed(&VOLUMES[0])?;
    Ok(mounted())
}

/// Those that are there already.
fn mounted() -> impl Iterator<Item = (usize, &'static DataVolume)> {
    VOLUMES.iter().enumerate().filter_map(|(n, slot)| Some((n, slot.get()?.as_ref()?)))
}

/// Whether a volume that is mounted has some of these sectors of a disk.
pub fn is_mounted(disk: &'static blk::Disk, first: u64, sectors: u64) -> bool {
    mounted().filter(|(_, volume)| core::ptr::eq(volume.disk(), disk)).any(|(_, volume)| {
        let place = volume.sectors();
        place.start < first + sectors && first < place.end
    })
}

/// Pages of disks that are in memory (Linux `nr_blockdev_pages`).
pub fn pages_of_disks() -> u64 {
    let mut pages = 0;
    CACHE.for_each_inode(|inode| {
        let fs = core::ptr::from_ref(inode.fs()).cast::<()>();
        if blk::disks().any(|disk| core::ptr::from_ref(disk).cast() == fs) {
            pages += inode.mapping().nrpages();
        }
    });
    pages
}

/// What a path means.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// A disk.
    Device(&'static blk::Disk),
    /// A name in a volume; a file may have it or not.
    Name(&'static DataVolume, &'a str),
}

/// What `path` means.
///
/// # Errors
/// `Enoent`: there is no such disk or volume. `Enomem`, `Eio`: the volume cannot be read.
pub fn locate(path: &str) -> Result<Place<'_>, Errno> {
    if path.starts_with("/dev/") {
        return blk::find(path).map(Place::Device).ok_or(Errno::Enoent);
    }
    let (number, name) = match path.strip_prefix("/mnt/").and_then(|rest| rest.split_once('/')) {
        Some((number, name)) => (number.parse::<usize>().map_err(|_| Errno::Enoent)? + 1, name),
        None => (0, path.strip_prefix('/').unwrap_or(path)),
    };
    if number == 0 {
        mount::root_if_unnamed(&VOLUMES[0])?;
    }
    let (_, volume) = mounted().find(|&(n, _)| n == number).ok_or(Errno::Enoent)?;
    Ok(Place::Name(volume, name))
}

/// The file system and the number of what is at `path`, and its size as the disk has it.
///
/// # Errors
/// As for [`locate`]; `Enoent`: there is no such file.
pub fn find(path: &str) -> Result<(&'static dyn FileSystem, u64, u64), Errno> {
    match locate(path)? {
        Place::Device(disk) => Ok((disk, device::NUMBER, disk.sectors() * blk::SECTOR_BYTES)),
        Place::Name(volume, name) => {
            let (number, size) = volume.find(name).ok_or(Errno::Enoent)?;
            Ok((volume, number, size))
        }
    }
}

/// Opens what is at `path`.
///
/// # Errors
/// As for [`find`]; `Erofs`, `Enomem`.
pub fn open(path: &str, mode: FileMode) -> Result<File, Errno> {
    let (fs, number, size) = find(path)?;
    let file = File(CACHE.open(fs, number, size, mode, &FRAMES)?);
    if mode.contains(FileMode::WRITE) {
        flusher::start(fs.device());
    }
    Ok(file)
}

/// As [`open`], for reading and, where that can be, for writing.
///
/// # Errors
/// As for [`find`]; `Enomem`.
pub fn open_for_all(path: &str) -> Result<File, Errno> {
    match open(path, FileMode::READ | FileMode::WRITE) {
        Err(Errno::Erofs) => open(path, FileMode::READ),
        opened => opened,
    }
}

/// An open file; closed when it is dropped.
pub struct File(&'static OpenFile<'static>);

impl core::ops::Deref for File {
    type Target = OpenFile<'static>;

    fn deref(&self) -> &OpenFile<'static> {
        self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: whoever borrowed it through this has ended.
        unsafe { CACHE.close(self.0) };
    }
}
