//! What files there are, and what of them is in memory: `file ls`, `file stat`, `file as`.

use super::open::with;
use super::{failed, path};
use crate::commands::{Args, Outcome};
use crate::console;
use crate::files::{self, Place};
use crate::memory::vm::CACHE;
use mm::errno::Errno;

/// `file ls`
pub fn list() -> Outcome {
    for (number, volume) in files::volumes() {
        let (free, blocks) = volume.room();
        console::print(format_args!(
            "volume={number} disk={} blocks={blocks} free_blocks={free}\n",
            volume.disk().name()
        ));
        let mut next = 0;
        while let Some(file) = volume.file_from(next) {
            let entry = &file.entry;
            console::print(format_args!("volume={number} name={} size={}\n", entry.name(), entry.size()));
            next = file.number + 1;
        }
    }
    Ok(())
}

/// `file stat PATH`
pub fn stat(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    match files::locate(path).map_err(|error| failed(path, error))? {
        Place::Device(disk) => console::print(format_args!(
            "disk={} size={} ro={}\n",
            disk.name(),
            disk.sectors() * 512,
            u8::from(disk.is_read_only())
        )),
        Place::Name(volume, name) => {
            let (number, _) = volume.find(name).ok_or_else(|| failed(path, Errno::Enoent))?;
            let file = volume.file_from(number).ok_or_else(|| failed(path, Errno::Enoent))?;
            let entry = &file.entry;
            console::print(format_args!(
                "ino={number} size={} valid={} blocks={} extents={}\n",
                entry.size(),
                entry.valid(),
                entry.blocks(),
                entry.extents().len()
            ));
        }
    }
    Ok(())
}

/// `file as PATH`: what the page cache has of it.
pub fn address_space(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    with(path, |file| {
        let inode = file.inode();
        let stat = CACHE.cachestat(inode, 0, u64::MAX);
        console::print(format_args!(
            "nrpages={} dirty={} writeback={} shadows={} size={}\n",
            inode.mapping().nrpages(),
            stat.dirty,
            stat.writeback,
            stat.evicted,
            inode.size()
        ));
    })
}
