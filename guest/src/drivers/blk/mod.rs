//! Disks: virtio-blk devices, named `vda`, `vdb`... in the order in which they are found.
//!
//! Owns: the table of disks. Stays outside: caching, partitions, who uses which disk.
//!
//! | file | job |
//! |---|---|
//! | `disk` | the disk: checks, blocking helpers, interrupts |
//! | `ticket` | a request in flight, as its owner holds it |
//! | `submitter` | many requests from one task, without interrupts |
//! | `port` | the disk as `mm` knows it |
//! | `lane` | a queue and who waits for it |
//! | `ring` | the queue itself |
//! | `slots` | requests in flight and who waits for them |
//! | `wire` | what the device sees |
//! | `counters` | what a disk has done |
//!
//! A disk has a queue for each CPU if it wants so many. Up to 128 requests of a queue are in flight at once, and nothing is allocated for them: the driver can write to swap
//! when no memory is left. Source: VIRTIO 1.2, section 5.2.

mod counters;
mod disk;
mod lane;
mod port;
mod ring;
mod slots;
mod submitter;
mod ticket;
mod wire;

pub use disk::{Disk, Operation, Segment};
pub use port::tell_ends_to;
pub use submitter::Submitter;
pub use ticket::Ticket;

use super::virtio::{Device, EVENT_IDX, INDIRECT_DESC, Unusable};
use crate::arch::{cpu, time};
use crate::memory;
use core::fmt;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};
use disk::Limits;
use lane::Lane;
use mm::addr::PAGE_SIZE;
use ring::{QUEUE_SIZE, Ring};

/// Bytes of a sector, the unit of every disk address.
pub const SECTOR_BYTES: u64 = 512;
/// Requests of one queue that can be in flight at once.
pub const MAX_IN_FLIGHT: usize = 128;
/// Data segments that one request can have: a readahead window, or a cluster of swap, of single pages.
pub const MAX_SEGMENTS: usize = 32;
/// Disks that there can be.
pub const MAX_DISKS: usize = 26;
/// Queues of one disk that are used.
const MAX_QUEUES: usize = 8;

/// VIRTIO_BLK_F_SEG_MAX: the device says how many data segments it takes.
const FEATURE_SEG_MAX: u64 = 1 << 2;
/// VIRTIO_BLK_F_RO.
const FEATURE_READ_ONLY: u64 = 1 << 5;
/// VIRTIO_BLK_F_FLUSH.
const FEATURE_FLUSH: u64 = 1 << 9;
/// VIRTIO_BLK_F_DISCARD.
const FEATURE_DISCARD: u64 = 1 << 13;
/// VIRTIO_BLK_F_MQ: the device says how many queues it has.
const FEATURE_QUEUES: u64 = 1 << 12;

/// Offset of the capacity in the configuration space.
const CONFIG_CAPACITY: usize = 0;
/// Offset of the largest number of data segments.
const CONFIG_SEG_MAX: usize = 12;
/// Offset of the largest number of sectors that a discard has.
const CONFIG_MAX_DISCARD: usize = 36;
/// Offset of the number of queues.
const CONFIG_QUEUES: usize = 34;

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
        // SAFETY: null or a disk that `attach` placed for good.
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

/// How long requests may take that nobody waits for.
const SETTLE_NS: u64 = 1_000_000_000;

/// Waits, within reason, until no disk has a request and who asked was told: what was read ahead is counted by all.
pub fn settle() {
    let (start, limit) = (cpu::rdtsc(), time::ns_to_tsc(SETTLE_NS));
    let is_busy = |disk: &'static Disk| (0..disk.queues()).any(|queue| disk.is_busy(queue));
    while disks().any(is_busy) && cpu::rdtsc().wrapping_sub(start) < limit {
        core::hint::spin_loop();
    }
}

/// A disk's line was raised.
pub(super) fn on_interrupt(line: usize) {
    for disk in disks().filter(|disk| disk.line() == line) {
        disk.on_interrupt();
    }
}

/// Starts a device whose interrupts arrive on `line`, for a machine of `cpus` CPUs, and adds it to the table.
pub(super) fn attach(mut device: Device, line: usize, cpus: usize) -> Result<&'static Disk, Unusable> {
    let index = disks().count();
    let entry = DISKS.get(index).ok_or(Unusable::TooMany)?;
    let wanted = FEATURE_SEG_MAX
        | FEATURE_READ_ONLY
        | FEATURE_FLUSH
        | FEATURE_QUEUES
        | FEATURE_DISCARD
        | EVENT_IDX
        | INDIRECT_DESC;
    let features = device.negotiate(wanted)?;
    let has = |feature| features & feature != 0;
    let segments = match has(FEATURE_SEG_MAX) {
        false => MAX_SEGMENTS,
        true => (device.config(CONFIG_SEG_MAX)? as usize).max(1),
    };
    let offered = if has(FEATURE_QUEUES) { usize::from(device.config_u16(CONFIG_QUEUES)?) } else { 1 };
    let queues = offered.min(cpus).clamp(1, MAX_QUEUES);
    let limits = Limits {
        sectors: device.config_u64(CONFIG_CAPACITY)?,
        read_only: has(FEATURE_READ_ONLY),
        has_cache: has(FEATURE_FLUSH),
        segments,
        discard: if has(FEATURE_DISCARD) { device.config(CONFIG_MAX_DISCARD)? } else { 0 },
    };
    // The other queues of a device are as large as its first.
    if device.max_queue_size(0) < QUEUE_SIZE as u32 {
        return Err(Unusable::Queue(virtio_drivers::Error::InvalidParam));
    }
    let lanes = make_lanes(&mut device, queues, has(INDIRECT_DESC), has(EVENT_IDX))?;
    device.start();
    let disk = place(Disk::new(index, line, limits, device, lanes)).ok_or(Unusable::NoMemory)?;
    match disk.ask_name().map(|ticket| ticket.wait_polled(NAME_TIMEOUT)) {
        // A device without a name is as good as any.
        Ok(Ok(Ok(()) | Err(BlkError::Io | BlkError::Unsupported))) => {}
        _ => {
            disk.give_up();
            return Err(Unusable::Silent);
        }
    }
    entry.store(core::ptr::from_ref(disk).cast_mut(), Ordering::Release);
    Ok(disk)
}

/// The queues of a device that has accepted us.
fn make_lanes(
    device: &mut Device,
    count: usize,
    indirect: bool,
    event_idx: bool,
) -> Result<&'static [Lane], Unusable> {
    let (_, room) = memory::dma_alloc((size_of::<Lane>() * count).div_ceil(PAGE_SIZE as usize))
        .ok_or(Unusable::NoMemory)?;
    let room = room.cast::<Lane>();
    for index in 0..count {
        let lane = Lane::new(Ring::new(device, index as u16, indirect, event_idx)?);
        // SAFETY: the block is ours for good, page-aligned and has room for `count` of them.
        unsafe { room.add(index).write(lane) };
    }
    // SAFETY: all of them were just written, and live for good.
    Ok(unsafe { NonNull::slice_from_raw_parts(room, count).as_ref() })
}

/// Puts `value` where it lives for good; `None` without memory.
fn place<T>(value: T) -> Option<&'static T> {
    let (_, room) = memory::dma_alloc(size_of::<T>().div_ceil(PAGE_SIZE as usize))?;
    let room = room.cast::<T>();
    // SAFETY: the block is ours for good, in the direct map, page-aligned and large enough.
    unsafe {
        room.write(value);
        Some(room.as_ref())
    }
}
