//! The table of a volume on its disk: read when it is mounted, written when its files must be stable.
//!
//! Owns: a buffer for one copy of the table. Invariants: what the table says is on the disk before the table is, and the
//! table before anybody relies on it; so each write stands between two flushes.

use crate::drivers::blk::{Disk, SECTOR_BYTES};
use crate::memory;
use mm::addr::{PAGE_SIZE, PhysAddr};
use mm::errno::Errno;
use shared::disk::files::SLOT_BLOCKS;
use shared::disk::{BLOCK, SECTOR};

/// Bytes of one request.
const CHUNK: usize = 64 << 10;

/// Memory that a disk reads and writes; given back when dropped.
pub struct Buffer {
    at: PhysAddr,
    bytes: &'static mut [u8],
}

impl Buffer {
    /// Zeroes; `None` without memory.
    pub fn new(bytes: usize) -> Option<Self> {
        let (at, start) = memory::dma_alloc(bytes.div_ceil(PAGE_SIZE as usize))?;
        // SAFETY: the frames are ours, zeroed and in a row; only requests that are waited for touch them meanwhile.
        Some(Self { at, bytes: unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), bytes) } })
    }

    /// What is in it.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Fills it from `sector` on, or fewer bytes where the disk ends.
    ///
    /// # Errors
    /// `Eio`.
    pub fn read(&mut self, disk: &'static Disk, sector: u64) -> Result<&[u8], Errno> {
        let there = disk.sectors().saturating_sub(sector).saturating_mul(SECTOR_BYTES);
        let length = self.bytes.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        let bytes = self.bytes.get_mut(..length).ok_or(Errno::Einval)?;
        for (chunk, n) in bytes.chunks_mut(CHUNK).zip(0_u64..) {
            let at = sector + n * (CHUNK as u64 / SECTOR);
            disk.read_sectors(at, chunk).map_err(|_| Errno::Eio)?;
        }
        Ok(bytes)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: from `dma_alloc`; every request on the buffer was waited for.
        unsafe { memory::dma_free(self.at, self.bytes.len().div_ceil(PAGE_SIZE as usize)) };
    }
}

/// Writes a table to slot `slot` of the volume that begins at `first`, stable when it returns.
///
/// # Errors
/// `Eio`.
pub fn write(disk: &'static Disk, first: u64, slot: u32, bytes: &[u8]) -> Result<(), Errno> {
    disk.flush().map_err(|_| Errno::Eio)?;
    let at = first + u64::from(slot) * SLOT_BLOCKS * (BLOCK / SECTOR);
    for (chunk, n) in bytes.chunks(CHUNK).zip(0_u64..) {
        disk.write_sectors(at + n * (CHUNK as u64 / SECTOR), chunk).map_err(|_| Errno::Eio)?;
    }
    disk.flush().map_err(|_| Errno::Eio)
}
