//! Requests as the device sees them. Source: VIRTIO 1.2, sections 5.2.6 and 2.7.5.3 (indirect descriptors).
//!
//! Owns: for each slot a header and a table of descriptors side by side, and a status byte. Invariants: the memory is the driver's for
//! good; that of a slot is touched by the driver only while the slot is not with the device.

use super::{MAX_IN_FLIGHT, MAX_SEGMENTS, Segment};
use crate::memory;
use core::mem::offset_of;
use core::ptr::NonNull;
use mm::addr::{PAGE_SIZE, PhysAddr};
use virtq::{Access, Buffer, DESCRIPTOR_WORDS, encode};

/// Bytes of a disk's name.
pub const ID_BYTES: usize = 20;
/// Buffers of a request beside its data: header and status.
pub const OVERHEAD: usize = 2;

/// VIRTIO_BLK_T_*: what a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// Data from the disk.
    Read = 0,
    /// Data to the disk.
    Write = 1,
    /// Completed writes made stable.
    Flush = 4,
    /// The disk's name.
    Id = 8,
    /// What is in a range of sectors is not needed.
    Discard = 11,
}

impl Kind {
    /// What the device does with the data segments.
    fn access(self) -> Access {
        match self {
            Self::Read | Self::Id => Access::Write,
            Self::Write | Self::Flush | Self::Discard => Access::Read,
        }
    }
}

/// VIRTIO_BLK_S_OK.
pub const STATUS_OK: u8 = 0;
/// VIRTIO_BLK_S_UNSUPP.
pub const STATUS_UNSUPPORTED: u8 = 2;
/// No status that a device gives: it has not written one.
const STATUS_NONE: u8 = 0xff;

const HEADER_BYTES: u32 = 16;
/// Bytes of `struct virtio_blk_discard_write_zeroes`.
const RANGE_BYTES: usize = size_of::<[u64; DESCRIPTOR_WORDS]>();

const _: () = assert!(RANGE_BYTES == 16);

/// What the device reads of a request. All of it is in one cache line when there is one data segment.
#[repr(C, align(64))]
struct Slot {
    kind: u32,
    reserved: u32,
    sector: u64,
    table: [[u64; DESCRIPTOR_WORDS]; MAX_SEGMENTS + OVERHEAD],
}

const _: () = assert!(offset_of!(Slot, table) + size_of::<[u64; DESCRIPTOR_WORDS]>() * (OVERHEAD + 1) == 64);

/// The memory of one queue.
#[repr(C)]
struct Area {
    slots: [Slot; MAX_IN_FLIGHT],
    /// What the device writes, away from what it reads.
    status: [u8; MAX_IN_FLIGHT],
    id: [u8; ID_BYTES],
}

/// The memory of one queue's requests.
pub struct Wire {
    area: NonNull<Area>,
    at: PhysAddr,
}

// SAFETY: the memory is this driver's alone, and `Wire` lives under the lock of its queue.
unsafe impl Send for Wire {}

impl Wire {
    /// Fresh memory, for good; `None` when there is none.
    pub fn new() -> Option<Self> {
        let (at, area) = memory::dma_alloc(size_of::<Area>().div_ceil(PAGE_SIZE as usize))?;
        Some(Self { area: area.cast(), at })
    }

    fn slot(&self, slot: usize) -> *mut Slot {
        // SAFETY: the remainder is inside the array.
        unsafe { (&raw mut (*self.area.as_ptr()).slots).cast::<Slot>().add(slot % MAX_IN_FLIGHT) }
    }

    fn status_of(&self, slot: usize) -> *mut u8 {
        // SAFETY: the remainder is inside the array.
        unsafe { (&raw mut (*self.area.as_ptr()).status).cast::<u8>().add(slot % MAX_IN_FLIGHT) }
    }

    /// Where the device finds byte `offset` of `slot`.
    fn address(&self, slot: usize, offset: usize) -> u64 {
        self.at.get() + (slot % MAX_IN_FLIGHT * size_of::<Slot>() + offset) as u64
    }

    /// Writes the header of `slot`, which is not with the device.
    pub fn prepare(&mut self, slot: usize, kind: Kind, sector: u64) {
        let (entry, status) = (self.slot(slot), self.status_of(slot));
        // SAFETY: inside the area, and the device does not look at this slot now.
        unsafe {
            (&raw mut (*entry).kind).write(kind as u32);
            (&raw mut (*entry).reserved).write(0);
            (&raw mut (*entry).sector).write(sector);
            status.write_volatile(STATUS_NONE);
        }
    }

    /// The buffers of a request in the order in which the device wants them. `segments` are at most
    /// [`MAX_SEGMENTS`].
    pub fn buffers<'a>(&self, slot: usize, kind: Kind, segments: &'a [Segment]) -> Buffers<'a> {
        let header = self.address(slot, 0);
        let status = self.at.get() + (offset_of!(Area, status) + slot % MAX_IN_FLIGHT) as u64;
        Buffers { header, status, access: kind.access(), segments, next: 0 }
    }

    /// Writes the table of `slot`, which is not with the device. Returns where the device finds it, and its length.
    pub fn write_table(&mut self, slot: usize, buffers: Buffers<'_>) -> (u64, u16) {
        let count = buffers.len();
        // SAFETY: a field of an entry inside the area; the device does not look at this slot now.
        let table = unsafe { &mut (*self.slot(slot)).table };
        for (index, (entry, buffer)) in table.iter_mut().zip(buffers).enumerate() {
            let next = Some(index as u16 + 1).filter(|&next| usize::from(next) < count);
            *entry = encode(buffer, next);
        }
        (self.address(slot, offset_of!(Slot, table)), count as u16)
    }

    /// The status of `slot`, which the device has given back.
    pub fn status(&self, slot: usize) -> u8 {
        // SAFETY: inside the area; volatile, because the device wrote it.
        unsafe { self.status_of(slot).read_volatile() }
    }

    /// Where the device finds the range of a discard in `slot`, which is not with the device: in the last entry of the
    /// table, which such a request does not need.
    pub fn range_segment(&mut self, slot: usize, sector: u64, sectors: u32) -> Segment {
        const AT: usize = offset_of!(Slot, table) + (MAX_SEGMENTS + OVERHEAD - 1) * RANGE_BYTES;
        // SAFETY: a field of an entry inside the area; the device does not look at this slot now.
        let table = unsafe { &mut (*self.slot(slot)).table };
        if let Some(range) = table.last_mut() {
            // The number of sectors, and no flags behind it.
            *range = [sector, sectors.into()];
        }
        Segment { addr: PhysAddr::truncate(self.address(slot, AT)), bytes: RANGE_BYTES as u32 }
    }

    /// Where the device puts its name.
    pub fn id_segment(&self) -> Segment {
        let addr = PhysAddr::truncate(self.at.get() + offset_of!(Area, id) as u64);
        Segment { addr, bytes: ID_BYTES as u32 }
    }

    /// The name that the device has put there.
    pub fn id(&self) -> [u8; ID_BYTES] {
        // SAFETY: a field of the area; the device wrote it when the disk was found, and never again.
        unsafe { (&raw const (*self.area.as_ptr()).id).read_volatile() }
    }
}

/// See [`Wire::buffers`].
#[derive(Clone)]
pub struct Buffers<'a> {
    header: u64,
    status: u64,
    access: Access,
    segments: &'a [Segment],
    next: usize,
}

impl Iterator for Buffers<'_> {
    type Item = Buffer;

    fn next(&mut self) -> Option<Buffer> {
        let index = self.next;
        self.next += 1;
        let Some(index) = index.checked_sub(1) else {
            return Some(Buffer { addr: self.header, len: HEADER_BYTES, access: Access::Read });
        };
        match self.segments.get(index) {
            Some(segment) => {
                Some(Buffer { addr: segment.addr.get(), len: segment.bytes, access: self.access })
            }
            None => (index == self.segments.len()).then_some(Buffer {
                addr: self.status,
                len: 1,
                access: Access::Write,
            }),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.segments.len() + OVERHEAD).saturating_sub(self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Buffers<'_> {}
