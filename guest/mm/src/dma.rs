//! Streaming DMA: memory for devices that cannot reach all of it (Linux `kernel/dma/direct.c`, `swiotlb.c`).
//!
//! Owns: the decision whether a device reaches a buffer, bounce buffers for those it does not, and the copies.
//! Stays outside: devices, and memory that is allocated for a device to begin with.
//! Invariants: the bus address of a mapping lies under the device's mask; what the device wrote into a bounce
//! buffer is in the original when [`Phys::dma_unmap`] returns; a buffer that is not copied back is not changed.
//!
//! Bounce buffers come from the zone that fits the mask, one block a mapping. A fixed pool, as Linux keeps one,
//! would take memory from every guest for devices that none has.

use crate::addr::{Order, PAGE_SIZE, PhysAddr};
use crate::phys::{AllocError, Frames, FreeError, GfpFlags, Phys};
use crate::port::{Machine, PhysMem};
use core::fmt;

/// The highest address that a device can put on the bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DmaMask(u64);

impl DmaMask {
    /// A device with `bits` address lines, 12 to 64 (Linux `DMA_BIT_MASK`).
    #[must_use]
    pub const fn bits(bits: u32) -> Option<Self> {
        match bits {
            12..=63 => Some(Self((1 << bits) - 1)),
            64 => Some(Self(u64::MAX)),
            _ => None,
        }
    }

    /// Whether the device reaches all of `len` bytes, at least 1, from `at`.
    #[must_use]
    pub const fn reaches(self, at: PhysAddr, len: u64) -> bool {
        match at.get().checked_add(len - 1) {
            Some(last) => last <= self.0,
            None => false,
        }
    }

    /// The lowest zone whose memory this mask may need.
    const fn gfp(self) -> GfpFlags {
        if self.0 >= u32::MAX as u64 { GfpFlags::GFP_DMA32 } else { GfpFlags::GFP_DMA }
    }
}

/// Which way the data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The device reads.
    ToDevice,
    /// The device writes.
    FromDevice,
    /// Both.
    Bidirectional,
}

/// Why a buffer cannot be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaError {
    /// Empty, longer than 4 MiB, or not RAM in the direct map.
    BadBuffer,
    /// No bounce buffer.
    NoMemory(AllocError),
    /// Even the lowest memory lies above the mask.
    MaskTooSmall,
}

impl fmt::Display for DmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadBuffer => write!(f, "not a buffer of 1 byte to 4 MiB in the direct map"),
            Self::NoMemory(error) => write!(f, "no bounce buffer: {error}"),
            Self::MaskTooSmall => write!(f, "no memory that the device can reach"),
        }
    }
}

/// A buffer that a device may use until [`Phys::dma_unmap`].
#[must_use = "an abandoned mapping leaks its bounce buffer and what the device wrote"]
#[derive(Debug)]
pub struct Mapping<'a> {
    original: PhysAddr,
    len: u64,
    direction: Direction,
    bounce: Option<Frames<'a>>,
}

impl Mapping<'_> {
    /// The address for the device.
    #[must_use]
    pub fn bus(&self) -> PhysAddr {
        self.bounce.as_ref().map_or(self.original, |frames| frames.pfn().addr())
    }

    /// Whether the device uses a bounce buffer.
    #[must_use]
    pub const fn is_bounced(&self) -> bool {
        self.bounce.is_some()
    }
}

impl<M: Machine> Phys<M> {
    /// Lends `len` bytes at `at` to a device with `mask`.
    ///
    /// # Errors
    /// [`DmaError`]; nothing is allocated then.
    ///
    /// # Safety
    /// The caller owns the buffer: until [`Phys::dma_unmap`] nobody but the device uses it.
    pub unsafe fn dma_map(
        &self,
        at: PhysAddr,
        len: u64,
        mask: DmaMask,
        direction: Direction,
    ) -> Result<Mapping<'_>, DmaError> {
        let order = Order::covering(len.div_ceil(PAGE_SIZE)).ok_or(DmaError::BadBuffer)?;
        let end = at.checked_add(len - 1).ok_or(DmaError::BadBuffer)?;
        let physmem = self.machine().physmem();
        if physmem.ptr(at).is_none() || physmem.ptr(end).is_none() {
            return Err(DmaError::BadBuffer);
        }
        if mask.reaches(at, len) {
            return Ok(Mapping { original: at, len, direction, bounce: None });
        }
        let frames = self.alloc_pages(mask.gfp(), order).map_err(DmaError::NoMemory)?;
        if !mask.reaches(frames.pfn().addr(), len) {
            // The block was just allocated, so giving it back cannot fail.
            let _ = self.free_pages(frames);
            return Err(DmaError::MaskTooSmall);
        }
        // What the device does not write must come back as it was, so the copy is made for every direction.
        // SAFETY: the caller owns the buffer, and the block is ours.
        unsafe { self.copy_bytes(at, frames.pfn().addr(), len) };
        Ok(Mapping { original: at, len, direction, bounce: Some(frames) })
    }

    /// Takes a buffer back from its device, with what that wrote.
    ///
    /// # Errors
    /// [`FreeError`] of the bounce buffer: a corruption.
    ///
    /// # Safety
    /// The device is done with the buffer.
    pub unsafe fn dma_unmap(&self, mapping: Mapping<'_>) -> Result<(), FreeError> {
        let Mapping { original, len, direction, bounce } = mapping;
        let Some(frames) = bounce else { return Ok(()) };
        if direction != Direction::ToDevice {
            // SAFETY: the device is done; the buffer is the caller's and the block ours.
            unsafe { self.copy_bytes(frames.pfn().addr(), original, len) };
        }
        self.free_pages(frames)
    }

    /// Copies page by page: neighbours in physical memory need not be neighbours in the direct map.
    ///
    /// # Safety
    /// Both ranges are RAM in the direct map, do not overlap, and nobody else uses them.
    unsafe fn copy_bytes(&self, from: PhysAddr, to: PhysAddr, len: u64) {
        let mut done = 0;
        while done < len {
            let (Some(source), Some(target)) = (from.checked_add(done), to.checked_add(done)) else { return };
            let room = PAGE_SIZE - source.page_offset().max(target.page_offset());
            let count = room.min(len - done);
            let physmem = self.machine().physmem();
            if let (Some(source), Some(target)) = (physmem.ptr(source), physmem.ptr(target)) {
                // SAFETY: `count` bytes stay inside one page on both sides; the caller owns both.
                unsafe { source.copy_to_nonoverlapping(target, count as usize) };
            }
            done += count;
        }
    }
}
