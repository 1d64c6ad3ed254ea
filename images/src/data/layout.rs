//! Where the partitions of a data volume are.
//!
//! The partition with the files comes first and gets all that the others leave. Partitions begin at multiples
//! of 1 MiB, as partitioning tools make them. The order on the disk is that of the numbers.

use shared::disk::{BLOCK, SECTOR, files, gpt};

use crate::ImageError;

/// Number of the partition with the files.
pub const NUMBER_OF_FILES: u32 = 1;

/// Sectors of the unit in which partitions are placed.
const ALIGN: u64 = (1 << 20) / SECTOR;
/// Sectors at the end of the disk that the backup table takes.
const BACKUP: u64 = gpt::ENTRY_SECTORS + 1;
/// Size of an image whose contents do not need more.
const DEFAULT_SIZE: u64 = 64 << 20;
/// Largest image: what block numbers of the file table can reach, with an end for the backup table.
const MAX_SIZE: u64 = 16 << 40;

const SIZE_RULE: &str = "a data volume is a multiple of 4096 bytes, from 3M to 16T";

/// A run of sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// First sector.
    pub first: u64,
    /// Last sector, included.
    pub last: u64,
}

impl Slice {
    /// Whole blocks of the slice.
    pub fn blocks(&self) -> u32 {
        let blocks = (self.last + 1 - self.first) / (BLOCK / SECTOR);
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }
}

/// The places of all partitions.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Sectors of the disk.
    pub sectors: u64,
    /// The partition with the files.
    pub files: Slice,
    /// The others, in the order they were given.
    pub others: Vec<Slice>,
}

impl Layout {
    /// The layout of an image of `size` bytes, or of as many as it takes, with `blocks` blocks in use in the
    /// partition of the files and other partitions of `others` bytes.
    pub fn new(size: Option<u64>, blocks: u64, others: &[u64]) -> Result<Self, ImageError> {
        let behind: u64 = others.iter().map(|bytes| aligned_sectors(*bytes)).fold(0, u64::saturating_add);
        let least = blocks.saturating_mul(BLOCK);
        let needed = (ALIGN + aligned_sectors(least) + ALIGN).saturating_add(behind).saturating_mul(SECTOR);
        let size = size.unwrap_or(needed.max(DEFAULT_SIZE));
        if !size.is_multiple_of(BLOCK) || size > MAX_SIZE {
            return Err(too_small(size));
        }
        let sectors = size / SECTOR;
        let end = sectors.saturating_sub(BACKUP) / ALIGN * ALIGN;
        let room = end.saturating_sub(ALIGN);
        if room == 0 {
            return Err(too_small(size));
        }
        let left = room.saturating_sub(behind);
        if behind > room || (behind == room && blocks > 0) {
            let needed = behind.saturating_mul(SECTOR);
            return Err(ImageError::NoRoom { what: "what is beside the files", needed, room: room * SECTOR });
        }
        if least > left * SECTOR {
            return Err(ImageError::NoRoom { what: "the file table", needed: least, room: left * SECTOR });
        }
        let mut next = ALIGN + left;
        let files = Slice { first: ALIGN, last: next - 1 };
        let others = others.iter().map(|bytes| {
            let slice = Slice { first: next, last: next + bytes.div_ceil(SECTOR) - 1 };
            next += aligned_sectors(*bytes);
            slice
        });
        Ok(Self { sectors, files, others: others.collect() })
    }
}

/// The answer to a size no image can have.
pub fn too_small(bytes: u64) -> ImageError {
    ImageError::Size { what: "a data volume".into(), bytes, rule: SIZE_RULE }
}

/// Sectors from the start of a partition of `bytes` bytes to where the next one can begin.
fn aligned_sectors(bytes: u64) -> u64 {
    bytes.div_ceil(SECTOR).checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX / SECTOR)
}

const _: () = assert!(files::DATA_START as u64 * BLOCK / SECTOR < ALIGN);

#[cfg(test)]
mod tests;
