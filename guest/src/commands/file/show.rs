//! What files there are, and what of them is in memory: `file ls`, `file stat`, `file as`.

use super::open::with;
use super::{failed, path};
use crate::commands::{Args, Outcome, fail};
use crate::console;
use crate::files::{self, Place};
use crate::machine::CPU;
use crate::memory::vm::{CACHE, STAT};
use mm::errno::Errno;
use mm::vmstat::NodeStat;
use shared::exit::ExitStatus;

/// `file ls`
pub fn list() -> Outcome {
    for (number, volume) in files::volumes().map_err(|error| failed("/", error))? {
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

/// `file as all`: every page that is counted stands in one index: of an inode, of shared memory, of swap.
fn all_spaces() -> Outcome {
    let (mut inodes, mut nrpages) = (0, 0);
    CACHE.for_each_inode(|inode| {
        inodes += 1;
        nrpages += inode.mapping().nrpages();
    });
    let [swapper, shmem, counted] =
        [NodeStat::SwapCached, NodeStat::Shmem, NodeStat::FilePages].map(|stat| STAT.total(stat));
    console::print(format_args!(
        "inodes={inodes} nrpages={nrpages} shmem={shmem} swapper={swapper} nr_file_pages={counted}\n"
    ));
    if nrpages + shmem + swapper == counted {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("file as: pages are counted wrong")))
    }
}

/// `file as PATH|all`: what the page cache has of it.
pub fn address_space(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    if path == "all" {
        return all_spaces();
    }
    with(path, |file| {
        let inode = file.inode();
        let stat = CACHE.cachestat(inode, 0, u64::MAX);
        console::print(format_args!(
            "nrpages={} dirty={} writeback={} shadows={} mmaps={} size={}\n",
            inode.mapping().nrpages(),
            stat.dirty,
            stat.writeback,
            stat.evicted,
            inode.mapping().mmaps(&CPU),
            inode.size()
        ));
    })
}
