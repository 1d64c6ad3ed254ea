//! The file table of a data volume: files by name, each a few fixed extents of one partition.
//!
//! Owns: the two copies of the table, which of them counts, what makes a table sound, and how a volume in use changes.
//! Stays outside: the files' contents.
//!
//! The partition begins with two slots of [`SLOT_BLOCKS`] blocks; everything from block [`DATA_START`] on
//! belongs to files. A slot holds a [`TableHeader`] and the entries behind it. A new table always goes to the
//! slot that does not hold the current one, with the next sequence number, and is flushed before anything
//! relies on it; so a write that tears leaves the old table whole. The current table is the sound one with the
//! higher sequence number. Free blocks are those that no extent names: there is no second record of them that
//! could disagree.
//!
//! Source: `docs/image-format.md`.

mod entry;
mod volume;

use core::fmt;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use entry::{EntryError, Extent, FileEntry, MAX_EXTENTS, MAX_NAME, MAX_SIZE, is_name};

pub use volume::{MAX_ZEROES, Piece, Plan, Volume, VolumeError};

use super::uuid::Uuid;
use super::{BLOCK, crc32};

/// Blocks of one copy of the table.
pub const SLOT_BLOCKS: u64 = 16;
/// Bytes of one copy of the table.
pub const SLOT_BYTES: usize = (SLOT_BLOCKS * BLOCK) as usize;
/// Bytes at the start of the partition that hold both copies.
pub const AREA_BYTES: usize = 2 * SLOT_BYTES;
/// First block of the partition that files may use.
pub const DATA_START: u32 = 2 * SLOT_BLOCKS as u32;
/// Most files of a table.
pub const MAX_FILES: usize = SLOT_BYTES / ENTRY_BYTES - 1;
/// The version of this format.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"BLSTFILE";
const ENTRY_BYTES: usize = size_of::<FileEntry>();

/// The start of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TableHeader {
    magic: [u8; 8],
    version: U32,
    checksum: U32,
    sequence: U64,
    uuid: Uuid,
    blocks: U32,
    slot: U32,
    count: U32,
    reserved: [u8; 204],
}

/// What is wrong with one copy of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The slot does not begin as a table does.
    NoTable,
    /// The table is of another version.
    Version(u32),
    /// The table is cut off, or has more files than there is room for.
    Length,
    /// Header and entries do not have their checksum.
    Checksum,
    /// The table belongs into the other slot, or onto a larger partition.
    Place,
    /// A file is wrong: its number, from 0, and how.
    Entry(u32, EntryError),
    /// Two files have the same name.
    SameName(u32, u32),
    /// Two files use the same block.
    Overlap(u32, u32),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable => f.write_str("no table"),
            Self::Version(version) => write!(f, "a table of version {version}, not {VERSION}"),
            Self::Length => f.write_str("more files than there is room for"),
            Self::Checksum => f.write_str("bad checksum"),
            Self::Place => f.write_str("the table belongs to another place or a larger partition"),
            Self::Entry(file, error) => write!(f, "file {file}: {error}"),
            Self::SameName(one, other) => write!(f, "files {one} and {other} have the same name"),
            Self::Overlap(one, other) => write!(f, "files {one} and {other} use the same block"),
        }
    }
}

impl TableHeader {
    /// A header before the first table of a partition of `blocks` blocks; [`Self::next`] makes that table.
    #[must_use]
    pub fn new(uuid: Uuid, blocks: u32) -> Self {
        Self {
            magic: MAGIC,
            version: U32::new(VERSION),
            checksum: U32::new(0),
            sequence: U64::new(0),
            uuid,
            blocks: U32::new(blocks),
            slot: U32::new(1),
            count: U32::new(0),
            reserved: [0; 204],
        }
    }

    /// The header of the table that comes after this one, for the other slot, with these files.
    ///
    /// # Errors
    /// What [`Table::read`] would find wrong with it, so that an unsound table is never written.
    pub fn next(&self, files: &[FileEntry]) -> Result<Self, TableError> {
        check_files(files, self.blocks.get())?;
        let mut next = self.successor(files.len())?;
        next.checksum = U32::new(next.checksum_with(files));
        Ok(next)
    }

    /// The header of the next table, of so many files, without its checksum.
    fn successor(&self, files: usize) -> Result<Self, TableError> {
        Ok(Self {
            checksum: U32::new(0),
            sequence: U64::new(self.sequence.get().wrapping_add(1)),
            slot: U32::new(1 - self.slot.get().min(1)),
            count: U32::new(u32::try_from(files).map_err(|_| TableError::Length)?),
            ..*self
        })
    }

    fn checksum_with(&self, files: &[FileEntry]) -> u32 {
        let unsealed = Self { checksum: U32::new(0), ..*self };
        crc32(&[unsealed.as_bytes(), files.as_bytes()])
    }

    /// Counts the tables that were written; the higher of two is the current one.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence.get()
    }

    /// The table's identifier, the same in every version of it.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Blocks of the partition, both slots included.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks.get()
    }

    /// The slot it belongs to, 0 or 1.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot.get()
    }
}

/// One sound copy of a table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    header: &'a TableHeader,
    files: &'a [FileEntry],
}

impl<'a> Table<'a> {
    /// Reads the table in `bytes`, the contents of slot `slot` of a partition of `blocks` blocks.
    ///
    /// # Errors
    /// What is wrong with it, the first thing found.
    pub fn read(bytes: &'a [u8], slot: u32, blocks: u64) -> Result<Self, TableError> {
        let (header, rest) = TableHeader::ref_from_prefix(bytes).map_err(|_| TableError::NoTable)?;
        if header.magic != MAGIC {
            return Err(TableError::NoTable);
        }
        if header.version.get() != VERSION {
            return Err(TableError::Version(header.version.get()));
        }
        let count = header.count.get() as usize;
        let (files, _) =
            <[FileEntry]>::ref_from_prefix_with_elems(rest, count).map_err(|_| TableError::Length)?;
        if header.checksum_with(files) != header.checksum.get() {
            return Err(TableError::Checksum);
        }
        if header.slot() != slot || u64::from(header.blocks()) > blocks {
            return Err(TableError::Place);
        }
        check_files(files, header.blocks())?;
        Ok(Self { header, files })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &'a TableHeader {
        self.header
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> &'a [FileEntry] {
        self.files
    }
}

/// Both copies of a table.
#[derive(Clone, Copy, Debug)]
pub struct Copies<'a> {
    /// What the two slots hold.
    pub slots: [Result<Table<'a>, TableError>; 2],
}

impl<'a> Copies<'a> {
    /// Reads both slots at the start of a partition of `blocks` blocks, of which `area` has the first
    /// [`AREA_BYTES`]. A shorter area counts as cut off.
    #[must_use]
    pub fn read(area: &'a [u8], blocks: u64) -> Self {
        let (first, second) = area.split_at_checked(SLOT_BYTES).unwrap_or((area, &[]));
        let second = second.get(..SLOT_BYTES).unwrap_or(second);
        Self { slots: [Table::read(first, 0, blocks), Table::read(second, 1, blocks)] }
    }

    /// The current table.
    ///
    /// # Errors
    /// What is wrong with the first copy, when neither is sound.
    pub fn current(&self) -> Result<Table<'a>, TableError> {
        match self.slots {
            [Ok(first), Ok(second)] if second.header.sequence() > first.header.sequence() => Ok(second),
            [Ok(table), _] | [_, Ok(table)] => Ok(table),
            // A slot of another version says more than one that was never written.
            [Err(TableError::NoTable), Err(error)] | [Err(error), _] => Err(error),
        }
    }
}

/// Checks a table that [`Volume::prepare`] made, and gives it its checksum. Takes a while: compares each file with each.
///
/// # Errors
/// What [`Table::read`] would find wrong with it.
pub fn seal(table: &mut [u8]) -> Result<(), TableError> {
    let (header, rest) = TableHeader::mut_from_prefix(table).map_err(|_| TableError::NoTable)?;
    let count = header.count.get() as usize;
    let (files, _) =
        <[FileEntry]>::ref_from_prefix_with_elems(rest, count).map_err(|_| TableError::Length)?;
    check_files(files, header.blocks())?;
    header.checksum = U32::new(header.checksum_with(files));
    Ok(())
}

/// Checks each file, and that no two share a name or a block.
fn check_files(files: &[FileEntry], blocks: u32) -> Result<(), TableError> {
    if files.len() > MAX_FILES {
        return Err(TableError::Length);
    }
    for (file, at) in files.iter().zip(0..) {
        file.check(blocks).map_err(|error| TableError::Entry(at, error))?;
        for (other, number) in files.iter().zip(0..at) {
            if other.name_bytes() == file.name_bytes() {
                return Err(TableError::SameName(number, at));
            }
            if other.shares_a_block_with(file) {
                return Err(TableError::Overlap(number, at));
            }
        }
    }
    Ok(())
}

const _: () = assert!(size_of::<TableHeader>() == ENTRY_BYTES && SLOT_BYTES.is_multiple_of(ENTRY_BYTES));
