//! From an inode to what it is called (Linux `d_path`, `s_dev`).

use super::{DataVolume, mounted};
use crate::drivers::blk::{self, Disk};
use core::fmt::{self, Write};
use mm::cache::Inode;

/// The number that Linux gives virtio disks.
const VIRTBLK_MAJOR: u32 = 254;
/// Numbers of a disk: itself and its partitions.
const MINORS: u32 = 16;
/// Where device files are, with the number that Linux gives that.
const DEVTMPFS: (u32, u32) = (0, 5);

/// Where an inode is.
enum Home {
    Disk(&'static Disk),
    Volume(usize, &'static DataVolume),
}

fn home(inode: &Inode<'_>) -> Option<Home> {
    let fs = core::ptr::from_ref(inode.fs()).cast::<()>();
    if let Some(disk) = blk::disks().find(|disk| core::ptr::from_ref(*disk).cast() == fs) {
        return Some(Home::Disk(disk));
    }
    let (number, volume) = mounted().find(|(_, volume)| core::ptr::from_ref(*volume).cast() == fs)?;
    Some(Home::Volume(number, volume))
}

/// Writes the path of an inode; nothing if it has none.
///
/// # Errors
/// Those of `w`.
pub fn write_path(inode: &Inode<'_>, w: &mut dyn Write) -> fmt::Result {
    let (number, volume) = match home(inode) {
        None => return Ok(()),
        Some(Home::Disk(disk)) => return write!(w, "/dev/{}", disk.name()),
        Some(Home::Volume(number, volume)) => (number, volume),
    };
    match volume.file_from(inode.number()).filter(|file| file.number == inode.number()) {
        None => Ok(()),
        Some(file) if number == 0 => write!(w, "/{}", file.entry.name()),
        Some(file) => write!(w, "/mnt/{}/{}", number - 1, file.entry.name()),
    }
}

/// Major and minor number of the device that an inode is on.
pub fn device(inode: &Inode<'_>) -> (u32, u32) {
    match home(inode) {
        Some(Home::Volume(_, volume)) => {
            let disk = blk::disks().position(|disk| core::ptr::eq(disk, volume.disk())).unwrap_or(0) as u32;
            (VIRTBLK_MAJOR, disk * MINORS + volume.part())
        }
        Some(Home::Disk(_)) => DEVTMPFS,
        None => (0, 0),
    }
}
