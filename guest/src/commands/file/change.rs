//! Making and removing files: `file create`, `file rm`. Both are stable when the command ends.

use super::{failed, open, path};
use crate::commands::support::parse;
use crate::commands::{Args, Outcome};
use crate::console;
use crate::files::{self, DataVolume, Place};
use crate::memory::vm::CACHE;
use mm::cache::FileSystem;
use mm::errno::Errno;
use shared::exit::ExitStatus;

/// The volume and the name that a path means.
fn named(path: &str) -> Result<(&'static DataVolume, &str), ExitStatus> {
    match files::locate(path).map_err(|error| failed(path, error))? {
        Place::Name(volume, name) => Ok((volume, name)),
        Place::Device(_) => Err(failed(path, Errno::Eperm)),
    }
}

/// `file create PATH [SIZE]`: of so many bytes, all of them zero, with no block on the disk.
pub fn create(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let size = args.next_word().map_or(Ok(0), |text| parse::size("size", text))?;
    let (volume, name) = named(path)?;
    let make = || {
        let number = volume.create(name)?;
        let made = volume.set_size(number, size).and_then(|()| volume.sync_inode(number, false));
        if let Err(error) = made {
            volume.remove(number)?;
            return Err(error);
        }
        Ok(number)
    };
    let number = make().map_err(|error| failed(path, error))?;
    console::print(format_args!("created ino={number} size={size}\n"));
    Ok(())
}

/// `file rm PATH`: nobody may have it open or its pages in memory.
pub fn remove(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let (volume, name) = named(path)?;
    let (number, _) = volume.find(name).ok_or_else(|| failed(path, Errno::Enoent))?;
    let fs = core::ptr::from_ref(volume).cast::<()>();
    if open::is_open(fs, number) {
        return Err(failed(path, Errno::Ebusy));
    }
    if let Some(inode) = CACHE.find_inode(volume, number) {
        CACHE.iput(inode);
        if inode.is_swapfile() {
            return Err(failed(path, Errno::Eperm));
        }
        // SAFETY: nobody has the file open, and an inode with pages is not dropped.
        if !unsafe { CACHE.drop_inode(volume, number) } {
            return Err(failed(path, Errno::Ebusy));
        }
    }
    let removed = volume.remove(number).and_then(|()| volume.sync_inode(number, false));
    removed.map_err(|error| failed(path, error))?;
    console::print(format_args!("removed ino={number}\n"));
    Ok(())
}
