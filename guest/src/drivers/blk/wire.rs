//! Requests as the device sees them. Source: VIRTIO 1.2, section 5.2.6.
//!
//! Owns: one page with a header and a status byte for each slot, and the scatter lists around them.
//! Invariants: the page is the driver's for good; the header and status of a slot are touched by the driver
//! only while the slot is not with the device.

use super::{MAX_IN_FLIGHT, MAX_SEGMENTS};
use core::mem::offset_of;
use core::ptr::NonNull;

/// Bytes of a disk's name.
pub const ID_BYTES: usize = 20;

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
}

impl Kind {
    /// Whether the device writes the data segments.
    fn device_writes(self) -> bool {
        matches!(self, Self::Read | Self::Id)
    }
}

/// VIRTIO_BLK_S_OK.
pub const STATUS_OK: u8 = 0;
/// VIRTIO_BLK_S_UNSUPP.
pub const STATUS_UNSUPPORTED: u8 = 2;
/// No status that a device gives: it has not written one.
const STATUS_NONE: u8 = 0xff;

const HEADER_BYTES: usize = 16;

#[repr(C)]
struct Slot {
    kind: u32,
    reserved: u32,
    sector: u64,
    status: u8,
    _pad: [u8; 7],
}

/// What is in the page.
#[repr(C)]
struct Page {
    slots: [Slot; MAX_IN_FLIGHT],
    id: [u8; ID_BYTES],
}

const _: () = assert!(size_of::<Page>() <= mm::addr::PAGE_SIZE as usize && size_of::<Slot>() == 24);

/// The page of one disk.
pub struct Wire(NonNull<Page>);

// SAFETY: the page is this driver's alone, and `Wire` lives under the disk's lock.
unsafe impl Send for Wire {}

impl Wire {
    /// Takes over a page.
    ///
    /// # Safety
    /// `page` is a zeroed, page-aligned frame in the direct map that is the caller's for good.
    pub unsafe fn new(page: NonNull<u8>) -> Self {
        Self(page.cast())
    }

    fn slot(&self, slot: usize) -> *mut Slot {
        // SAFETY: the remainder is inside the array.
        unsafe { (&raw mut (*self.0.as_ptr()).slots).cast::<Slot>().add(slot % MAX_IN_FLIGHT) }
    }

    /// Writes the header of `slot`, which is not with the device.
    pub fn prepare(&mut self, slot: usize, kind: Kind, sector: u64) {
        // SAFETY: inside the page, and the device does not look at this slot now.
        unsafe {
            self.slot(slot).write(Slot {
                kind: kind as u32,
                reserved: 0,
                sector,
                status: STATUS_NONE,
                _pad: [0; 7],
            });
        }
    }

    /// The status of `slot`, which the device has given back.
    pub fn status(&self, slot: usize) -> u8 {
        // SAFETY: inside the page; volatile, because the device wrote it.
        unsafe { (&raw const (*self.slot(slot)).status).read_volatile() }
    }

    /// Where the device puts its name.
    pub fn id(&self) -> NonNull<[u8]> {
        // SAFETY: a field of the page.
        let id = unsafe { self.0.cast::<u8>().add(offset_of!(Page, id)) };
        NonNull::slice_from_raw_parts(id, ID_BYTES)
    }

    /// Calls `run` with the buffers of a request: readable by the device, then writable.
    ///
    /// # Safety
    /// `data` are at most [`MAX_SEGMENTS`] ranges of mapped memory that nobody else touches until the device
    /// has given `slot` back; `run` only passes the slices on to a queue.
    pub unsafe fn buffers<R>(
        &mut self,
        slot: usize,
        kind: Kind,
        data: impl Iterator<Item = NonNull<[u8]>>,
        run: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
    ) -> R {
        let wire = self.slot(slot);
        // SAFETY: header and status are different fields of a slot in the page.
        let (header, status) = unsafe {
            let header = core::slice::from_raw_parts(wire.cast::<u8>(), HEADER_BYTES);
            (header, core::slice::from_raw_parts_mut(&raw mut (*wire).status, 1))
        };
        let mut readable: [&[u8]; MAX_SEGMENTS + 1] = [&[]; MAX_SEGMENTS + 1];
        let mut writable: [&mut [u8]; MAX_SEGMENTS + 1] = core::array::from_fn(|_| &mut [][..]);
        readable[0] = header;
        let mut count = 0;
        for segment in data.take(MAX_SEGMENTS) {
            // SAFETY: by the caller.
            unsafe {
                if kind.device_writes() {
                    writable[count] = &mut *segment.as_ptr();
                } else {
                    readable[1 + count] = &*segment.as_ptr();
                }
            }
            count += 1;
        }
        if kind.device_writes() {
            writable[count] = status;
            run(&readable[..1], &mut writable[..=count])
        } else {
            writable[0] = status;
            run(&readable[..=count], &mut writable[..1])
        }
    }
}
