//! Everything that can be said about an image, and what is wrong with it.
//!
//! | file | job |
//! |---|---|
//! | `volume` | partition tables |
//! | `files` | file tables |
//! | `swap` | swap areas |
//! | `text` | the facts as lines of `key=value` |
//!
//! Owns: which finding is an error and which a warning. An error is something that was lost or could mislead a
//! reader. A warning is what can come about without damage: a table copy that a crash cut off, an image that
//! was made larger.

mod files;
mod swap;
mod text;
mod volume;

use std::path::Path;

use serde::Serialize;
use shared::disk::swap::SwapHeader;
use shared::disk::{BLOCK, SECTOR};

use crate::ImageError;
use crate::gpt::Tables;
use crate::source::Source;

/// The version of the JSON form of [`Inspection`].
const SCHEMA: u32 = 1;

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A disk with a partition table.
    Gpt,
    /// A swap area.
    Swap,
    /// Nothing that is known here, or nothing that is left of it.
    Unknown,
}

/// All facts about an image.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The version of this structure.
    pub schema: u32,
    /// The path.
    pub image: String,
    /// Its size.
    pub bytes: u64,
    /// What it is.
    pub kind: Kind,
    /// The disk, if there is a sound partition table.
    pub disk: Option<DiskFacts>,
    /// Its partitions.
    pub partitions: Vec<PartitionFacts>,
    /// Its file tables.
    pub tables: Vec<TableFacts>,
    /// The files of all tables.
    pub files: Vec<FileFacts>,
    /// Its swap areas.
    pub swap: Vec<SwapFacts>,
    /// What is not as it could be.
    pub warnings: Vec<String>,
    /// What is wrong.
    pub errors: Vec<String>,
}

/// A disk with a partition table.
#[derive(Debug, Clone, Serialize)]
pub struct DiskFacts {
    /// Its identifier.
    pub uuid: String,
    /// First sector that partitions may use.
    pub first_lba: u64,
    /// Last sector that partitions may use.
    pub last_lba: u64,
}

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionFacts {
    /// Its number, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// `files`, `data`, `swap`, or the identifier of another type.
    pub kind: String,
    /// Its identifier.
    pub uuid: String,
    /// Its first sector.
    pub first_lba: u64,
    /// Its last sector, included.
    pub last_lba: u64,
}

/// A file table.
#[derive(Debug, Clone, Serialize)]
pub struct TableFacts {
    /// The partition it is in.
    pub partition: u32,
    /// Its identifier.
    pub uuid: String,
    /// How many tables were written before and with it.
    pub sequence: u64,
    /// The slot of the current copy.
    pub slot: u32,
    /// Copies that are sound.
    pub copies: u32,
    /// How many files it has.
    pub files: u32,
    /// Blocks of the partition.
    pub blocks: u64,
    /// Blocks that no file has.
    pub free_blocks: u64,
}

/// A file of a file table.
#[derive(Debug, Clone, Serialize)]
pub struct FileFacts {
    /// The partition of its table.
    pub partition: u32,
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Bytes from its start on that were written; what follows reads as zero.
    pub valid: u64,
    /// Bytes of its blocks, what it can grow into included.
    pub room: u64,
    /// Its extents: first block of the file, first block of the partition, number of blocks.
    pub extents: Vec<[u32; 3]>,
    /// Bytes before its end that have no block.
    pub holes: u64,
}

/// A swap area.
#[derive(Debug, Clone, Serialize)]
pub struct SwapFacts {
    /// The partition it is in, or none if it is the whole image.
    pub partition: Option<u32>,
    /// Pages of the area, the header included.
    pub pages: u64,
    /// Pages that are not used.
    pub bad_pages: Vec<u32>,
    /// Its name.
    pub label: String,
    /// Its identifier.
    pub uuid: String,
}

/// Inspects the image at `path`. What is wrong with the image is part of the result; an error is what keeps it
/// from being read.
pub fn inspect(path: &Path) -> Result<Inspection, ImageError> {
    let source = Source::open(path)?;
    let mut found = Inspection {
        schema: SCHEMA,
        image: path.display().to_string(),
        bytes: source.bytes(),
        kind: Kind::Unknown,
        disk: None,
        partitions: Vec::new(),
        tables: Vec::new(),
        files: Vec::new(),
        swap: Vec::new(),
        warnings: Vec::new(),
        errors: Vec::new(),
    };
    if !found.bytes.is_multiple_of(SECTOR) {
        found.errors.push(format!("the size is no multiple of {SECTOR} bytes: the image is cut off"));
    }
    let tables = Tables::read(&source)?;
    if volume::is_partitioned(&source, &tables)? {
        found.kind = Kind::Gpt;
        volume::inspect(&source, &tables, &mut found)?;
    } else if SwapHeader::is_in(&source.read(0, BLOCK as usize)?) {
        found.kind = Kind::Swap;
        swap::inspect(&source, None, 0..source.bytes(), &mut found)?;
    } else {
        found.errors.push("neither a partition table nor a swap area is left, if there ever was one".into());
    }
    Ok(found)
}
