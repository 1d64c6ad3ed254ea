//! `blk rescan`: somebody else has changed what is on a disk.

use super::named;
use crate::commands::{Args, Command, Outcome, fail, usage};
use crate::console;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, VM};
use mm::errno::Errno;
use shared::exit::ExitStatus;

/// The command.
pub const BLK: Command = Command {
    name: "blk",
    usage: "rescan NAME",
    summary: "what is in memory of a disk and its files is read again; what is dirty stays",
    run: blk,
};

fn blk(args: &mut Args<'_>) -> Outcome {
    match args.next_word() {
        Some("rescan") => rescan(args),
        other => Err(usage(format_args!("blk: expected rescan, not '{}'", other.unwrap_or("")))),
    }
}

fn rescan(args: &mut Args<'_>) -> Outcome {
    let (name, disk) = named(args)?;
    let on_disk = core::ptr::from_ref(disk).cast::<()>();
    let (before, mut busy) = (pages_of(on_disk), None::<Errno>);
    CACHE.for_each_inode(|inode| {
        if core::ptr::from_ref(inode.fs().device()).cast::<()>() == on_disk {
            busy = busy.or(VM.rescan(inode, inode.size(), &FRAMES).err());
        }
    });
    let after = pages_of(on_disk);
    console::print(format_args!("invalidated={} kept={after}\n", before.saturating_sub(after)));
    busy.map_or(Ok(()), |error| Err(fail(ExitStatus::CheckFailed, format_args!("{name}: {error}"))))
}

/// Pages that are in memory of a disk and its files.
fn pages_of(on_disk: *const ()) -> u64 {
    let mut pages = 0;
    CACHE.for_each_inode(|inode| {
        if core::ptr::from_ref(inode.fs().device()).cast::<()>() == on_disk {
            pages += inode.mapping().nrpages();
        }
    });
    pages
}
