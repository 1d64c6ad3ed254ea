//! Disks: virtio-blk devices, named `vda`, `vdb`... in the order in which they are found.
//!
//! Owns: the table of disks. Stays outside: caching, partitions, who uses which disk.
//!
//! | file | job |
//! |---|---|
//! | `disk` | requests, tickets, blocking helpers |
//! | `ring` | the queue and the device |
//! | `slots` | requests in flight and who waits for them |
//! | `segments` | the memory of requests in flight |
//! | `wire` | what the device sees |
//! | `counters` | what a disk has done |
//!
//! Up to 64 requests are in flight at once, and nothing is allocated for them: the driver can write to swap
//! when no memory is left. Source: VIRTIO 1.2, section 5.2.

mod counters;
mod disk;
mod ring;
mod segments;
mod slots;
mod wire;

pub use disk::Disk;

use super::virtio::{Device, Unusable};
use crate::memory;
use core::fmt;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use disk::Limits;
use mm::addr::PAGE_SIZE;
use ring::Ring;
use wire::Wire;

/// Bytes of a sector, the unit of every disk address.
pub const SECTOR_BYTES: u64 = 512;
/// Requests of one disk that can be in flight at once.
pub const MAX_IN_FLIGHT: usize = 64;
/// Data segments that one request can have: a readahead window, or a cluster of swap, of single pages.
pub const MAX_SEGMENTS: usize = 32;
/// Disks that there can be.
pub const MAX_DISKS: usize = 26;

/// VIRTIO_BLK_F_SEG_MAX: the device says how many data segments it takes.
const FEATURE_SEG_MAX: u64 = 1 << 2;
/// VIRTIO_BLK_F_RO.
const FEATURE_READ_ONLY: u64 = 1 << 5;
/// VIRTIO_BLK_F_FLUSH.
const FEATURE_FLUSH: u64 = 1 << 9;

/// Offset of the capacity in the configuration space.
const CONFIG_CAPACITY: usize = 0;
/// Offset of the largest number of data segments.
const CONFIG_SEG_MAX: usize = 12;

/// A device must tell its name within this time, in nanoseconds.
const NAME_TIMEOUT: u64 = 10_000_000_000;

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlkError {
    /// The device tried and failed.
    Io,
    /// The device does not know such requests.
    Unsupported,
    /// The device has failed and was stopped.
    Lost,
    /// As much is in flight as can be; later there is room again.
    Full,
    /// The disk cannot be written.
    ReadOnly,
    /// Not whole sectors, outside the disk, too many segments, or memory that no device can reach.
    Invalid,
}

impl fmt::Display for BlkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "I/O error",
            Self::Unsupported => "not supported by the disk",
            Self::Lost => "the disk has failed and was stopped",
            Self::Full => "too many requests in flight",
            Self::ReadOnly => "the disk is read-only",
            Self::Invalid => "impossible range of sectors or memory",
        })
    }
}

static DISKS: [AtomicPtr<Disk>; MAX_DISKS] = [const { AtomicPtr::new(null_mut()) }; MAX_DISKS];

/// The disks, in order.
pub fn disks() -> impl Iterator<Item = &'static Disk> {
    DISKS.iter().map_while(|slot| {
        // SAFETY: null or a disk that `attach` built and that lives for good.
        unsafe { slot.load(Ordering::Acquire).as_ref() }
    })
}

/// The disk with this name; `/dev/` before it is allowed.
pub fn find(name: &str) -> Option<&'static Disk> {
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    let mut rest = name.strip_prefix("vd")?.chars();
    let letter = rest.next()?;
    disks().find(|disk| disk.letter() == letter).filter(|_| rest.next().is_none())
}

/// A disk's line was raised.
pub(super) fn on_interrupt(line: usize) {
    for disk in disks().filter(|disk| disk.line() == line) {
        disk.on_interrupt();
    }
}

/// Starts a device whose interrupts arrive on `line`, and adds it to the table.
pub(super) fn attach(mut device: Device, line: usize) -> Result<&'static Disk, Unusable> {
    let index = disks().count();
    let entry = DISKS.get(index).ok_or(Unusable::TooMany)?;
    let features = device.negotiate(FEATURE_SEG_MAX | FEATURE_READ_ONLY | FEATURE_FLUSH)?;
    let segments = match features & FEATURE_SEG_MAX {
        0 => MAX_SEGMENTS,
        _ => (device.config(CONFIG_SEG_MAX)? as usize).max(1),
    };
    let limits = Limits {
        sectors: device.config_u64(CONFIG_CAPACITY)?,
        read_only: features & FEATURE_READ_ONLY != 0,
        has_cache: features & FEATURE_FLUSH != 0,
        segments,
    };
    let queue = Ring::queue(&mut device)?;
    let (_, page) = memory::dma_alloc(1).ok_or(Unusable::NoMemory)?;
    let pages = size_of::<Disk>().div_ceil(PAGE_SIZE as usize);
    let (_, room) = memory::dma_alloc(pages).ok_or(Unusable::NoMemory)?;
    let room = room.cast::<Disk>().as_ptr();
    // SAFETY: both blocks are ours for good, in the direct map and page-aligned; the second is large enough.
    let disk: &'static Disk = unsafe {
        room.write(Disk::new(index, line, limits, Ring::new(device, queue, Wire::new(page))));
        &*room
    };
    match disk.ask_name().map(|ticket| ticket.wait_polled(NAME_TIMEOUT)) {
        // A device without a name is as good as any.
        Ok(Ok(Ok(()) | Err(BlkError::Io | BlkError::Unsupported))) => {}
        _ => {
            disk.give_up();
            return Err(Unusable::Silent);
        }
    }
    entry.store(room, Ordering::Release);
    Ok(disk)
}
