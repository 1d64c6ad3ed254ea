//! One file of a file table: its name, its size and where its blocks are.
//!
//! What a byte of a file is: the byte on the disk where an extent has its block and it lies before `valid`;
//! zero otherwise, up to `size`. So a file can grow within its extents without a write to the new part, and
//! blocks that no extent has are holes. Extents may go beyond `size`: room that is set aside.

use core::fmt;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::BLOCK;
use super::DATA_START;

/// Longest name in bytes.
pub const MAX_NAME: usize = 63;
/// Most extents of a file.
pub const MAX_EXTENTS: usize = 14;
/// Largest size of a file in bytes.
pub const MAX_SIZE: u64 = u32::MAX as u64 * BLOCK;

/// A run of blocks.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Extent {
    logical: U32,
    start: U32,
    blocks: U32,
}

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FileEntry {
    name: [u8; 64],
    size: U64,
    valid: U64,
    extent_count: U32,
    reserved: U32,
    extents: [Extent; MAX_EXTENTS],
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// The name is none: see [`is_name`].
    Name,
    /// The size is above [`MAX_SIZE`], or less is there than is said to be written.
    Size,
    /// More extents than there is room for, or something where nothing belongs.
    Unused,
    /// An extent is empty, out of order, or overlaps the one before.
    Order,
    /// An extent is not within the partition's data.
    Bounds,
    /// Two extents of the file use the same block.
    Overlap,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "bad name",
            Self::Size => "bad size",
            Self::Unused => "unused fields are not zero, or too many extents",
            Self::Order => "extents are empty or out of order",
            Self::Bounds => "an extent lies outside the partition",
            Self::Overlap => "two extents use the same block",
        })
    }
}

/// Whether `name` can name a file: 1 to 63 bytes without control characters; `/` separates parts, none of
/// which is empty, `.` or `..`, so that a name is always a path below some folder.
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && !name.chars().any(char::is_control)
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl Extent {
    /// `blocks` blocks of a file from its block `logical` on, which are the blocks of the partition from
    /// `start` on.
    #[must_use]
    pub fn new(logical: u32, start: u32, blocks: u32) -> Self {
        Self { logical: U32::new(logical), start: U32::new(start), blocks: U32::new(blocks) }
    }

    /// First block of the file.
    #[must_use]
    pub fn logical(&self) -> u32 {
        self.logical.get()
    }

    /// First block of the partition.
    #[must_use]
    pub fn start(&self) -> u32 {
        self.start.get()
    }

    /// How many blocks.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks.get()
    }

    fn overlaps(&self, other: &Self) -> bool {
        let end = |extent: &Self| u64::from(extent.start()) + u64::from(extent.blocks());
        u64::from(self.start()) < end(other) && u64::from(other.start()) < end(self)
    }
}

impl FileEntry {
    /// A file of `size` bytes, of which the first `valid` are written. `None` for a bad name, a bad size or too
    /// many extents; whether the extents make sense is checked with the table.
    #[must_use]
    pub fn new(name: &str, size: u64, valid: u64, extents: &[Extent]) -> Option<Self> {
        let mut entry = Self {
            name: [0; 64],
            size: U64::new(size),
            valid: U64::new(valid),
            extent_count: U32::new(u32::try_from(extents.len()).ok()?),
            reserved: U32::new(0),
            extents: [Extent::default(); MAX_EXTENTS],
        };
        entry.name.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        entry.extents.get_mut(..extents.len())?.copy_from_slice(extents);
        (is_name(name) && valid <= size && size <= MAX_SIZE).then_some(entry)
    }

    /// Its name; empty if it is none.
    #[must_use]
    pub fn name(&self) -> &str {
        core::str::from_utf8(self.name_bytes()).unwrap_or("")
    }

    pub(super) fn name_bytes(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Bytes it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.get()
    }

    /// Bytes from its start on that the disk has; what follows, up to the size, reads as zero.
    #[must_use]
    pub fn valid(&self) -> u64 {
        self.valid.get()
    }

    /// Its blocks, in the order of the file.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        self.extents.get(..self.extent_count.get() as usize).unwrap_or_default()
    }

    /// Blocks of all extents.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.extents().iter().map(|extent| u64::from(extent.blocks())).sum()
    }

    /// Checks the file alone, in a partition of `blocks` blocks.
    pub(super) fn check(&self, blocks: u32) -> Result<(), EntryError> {
        if !core::str::from_utf8(self.name_bytes()).is_ok_and(is_name) {
            return Err(EntryError::Name);
        }
        let count = usize::try_from(self.extent_count.get()).unwrap_or(usize::MAX);
        let unused = self.extents.get(count..).ok_or(EntryError::Unused)?;
        let clear = unused.iter().all(|extent| *extent == Extent::default())
            && self.name.iter().skip(self.name_bytes().len()).all(|byte| *byte == 0);
        if !clear || self.reserved.get() != 0 {
            return Err(EntryError::Unused);
        }
        if self.size() > MAX_SIZE || self.valid() > self.size() {
            return Err(EntryError::Size);
        }
        self.check_extents(blocks)
    }

    fn check_extents(&self, blocks: u32) -> Result<(), EntryError> {
        let mut next = 0;
        for (extent, at) in self.extents().iter().zip(0..) {
            let end = extent.logical().checked_add(extent.blocks());
            next = match end {
                Some(end) if extent.blocks() > 0 && extent.logical() >= next => end,
                _ => return Err(EntryError::Order),
            };
            let end = extent.start().checked_add(extent.blocks());
            if extent.start() < DATA_START || end.is_none_or(|end| end > blocks) {
                return Err(EntryError::Bounds);
            }
            if self.extents().iter().take(at).any(|other| other.overlaps(extent)) {
                return Err(EntryError::Overlap);
            }
        }
        Ok(())
    }

    pub(super) fn shares_a_block_with(&self, other: &Self) -> bool {
        self.extents().iter().any(|extent| other.extents().iter().any(|one| one.overlaps(extent)))
    }
}

const _: () = assert!(size_of::<FileEntry>() == 256);
