//! Data volumes: a partition with files, and raw partitions beside it.
//!
//! | file | job |
//! |---|---|
//! | `content` | where bytes come from |
//! | `tree` | the files below a directory |
//! | `layout` | where partitions are |
//! | `place` | where files are in their partition |
//!
//! Owns: the description of a volume, and the order in which it is written. Stays outside: the formats.
//! Invariant: everything is checked and measured before the first byte is written.

mod content;
mod layout;
mod place;
mod tree;

use std::os::unix::fs::FileExt;
use std::path::Path;

use shared::disk::files::{SLOT_BYTES, TableHeader};
use shared::disk::swap::SwapHeader;
use shared::disk::uuid::Uuid;
use shared::disk::{BLOCK, SECTOR, gpt};
use zerocopy::IntoBytes;

pub use content::Content;
pub use tree::files_below;

use crate::draft::{Draft, Existing};
use crate::gpt as table;
use crate::swap::{SwapSpec, write_header};
use crate::{ImageError, random};
use content::Open;
use layout::{Layout, Slice};
use place::Placed;

/// Name of the partition with the file table.
const FILES: &str = "files";

/// A data volume to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataSpec {
    /// Bytes of the whole image; by default 64 MiB, or what the contents need.
    pub size: Option<u64>,
    /// Its identifier, from which those of the partitions follow; a random one by default.
    pub uuid: Option<Uuid>,
    /// The files of the first partition.
    pub files: Vec<FileSpec>,
    /// The partitions beside it, in the order of their numbers from 2 on.
    pub partitions: Vec<PartitionSpec>,
}

/// A file of the file table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Its name: parts separated by `/`, at most 63 bytes.
    pub name: String,
    /// What is in it.
    pub content: Content,
    /// Bytes it can grow to without new blocks; its size by default.
    pub room: u64,
    /// Whether blocks of zeros become holes.
    pub sparse: bool,
}

/// A partition beside the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSpec {
    /// Its name, at most 36 UTF-16 units.
    pub name: String,
    /// What is in it.
    pub content: PartitionContent,
}

/// What is in a partition beside the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionContent {
    /// Bytes without a structure that anybody here knows.
    Raw(Content),
    /// A swap area of this many bytes.
    Swap(u64),
}

/// What was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataFacts {
    /// Bytes of the image.
    pub bytes: u64,
    /// Its identifier.
    pub uuid: Uuid,
    /// Its partitions.
    pub partitions: usize,
    /// Its files.
    pub files: usize,
    /// Bytes that no file has taken.
    pub free: u64,
}

/// A partition whose contents are at hand.
enum Filled {
    Raw(Open),
    Swap(Box<SwapHeader>, u64),
}

impl Filled {
    fn bytes(&self) -> u64 {
        match self {
            Self::Raw(content) => content.bytes(),
            Self::Swap(_, bytes) => *bytes,
        }
    }

    fn kind(&self) -> Uuid {
        match self {
            Self::Raw(_) => gpt::TYPE_DATA,
            Self::Swap(..) => gpt::TYPE_SWAP,
        }
    }

    fn write(&self, draft: &Draft, offset: u64) -> Result<(), ImageError> {
        match self {
            Self::Raw(content) => content.copy(draft, 0, content.bytes(), offset),
            Self::Swap(header, _) => write_header(draft.file(), offset, header).map_err(draft.error()),
        }
    }
}

/// Builds the data volume `spec` at `path`.
pub fn make_data(path: &Path, spec: &DataSpec, existing: Existing) -> Result<DataFacts, ImageError> {
    let uuid = spec.uuid.map_or_else(random::uuid, Ok)?;
    let files = place::place(&spec.files)?;
    let others = fill_partitions(spec, uuid)?;
    let sizes: Vec<_> = others.iter().map(|(_, filled)| filled.bytes()).collect();
    let layout = Layout::new(spec.size, files.blocks, &sizes)?;
    let entries = entries(uuid, &layout, &others);
    let header =
        gpt::Header::primary(uuid, layout.sectors).ok_or(layout::too_small(layout.sectors * SECTOR))?;

    let draft = Draft::new(path, existing, 0o666)?;
    draft.file().set_len(layout.sectors * SECTOR).map_err(draft.error())?;
    table::write(draft.file(), header, &entries).map_err(draft.error())?;
    write_files(&draft, &layout.files, uuid.offset(layout::NUMBER_OF_FILES), &files)?;
    for (slice, (_, filled)) in layout.others.iter().zip(&others) {
        filled.write(&draft, slice.first * SECTOR)?;
    }
    draft.finish()?;
    Ok(DataFacts {
        bytes: layout.sectors * SECTOR,
        uuid,
        partitions: entries.len(),
        files: files.files.len(),
        free: (u64::from(layout.files.blocks()) - files.blocks) * BLOCK,
    })
}

/// Opens and measures what is in the partitions beside the files.
fn fill_partitions(spec: &DataSpec, uuid: Uuid) -> Result<Vec<(String, Filled)>, ImageError> {
    let most = gpt::ENTRIES as usize - 1;
    if spec.partitions.len() > most {
        return Err(ImageError::TooMany(spec.partitions.len(), "partition", most));
    }
    let mut filled: Vec<(String, Filled)> = Vec::new();
    for (partition, number) in spec.partitions.iter().zip(layout::NUMBER_OF_FILES + 1..) {
        let name = &partition.name;
        let rule = "it has 1 to 36 characters, none of them a control character";
        if name.is_empty() || name.encode_utf16().count() > 36 || name.chars().any(char::is_control) {
            return Err(ImageError::Name(name.clone(), "partition", rule));
        }
        if name == FILES || filled.iter().any(|(other, _)| other == name) {
            return Err(ImageError::SameName(name.clone(), "partition"));
        }
        let content = match &partition.content {
            PartitionContent::Raw(content) => Filled::Raw(content.open()?),
            PartitionContent::Swap(size) => {
                let swap = SwapSpec { size: *size, uuid: Some(uuid.offset(number)), ..SwapSpec::default() };
                Filled::Swap(Box::new(swap.header()?), *size)
            }
        };
        if content.bytes() == 0 {
            let rule = "a partition has at least one byte";
            return Err(ImageError::Size { what: format!("partition {name}"), bytes: 0, rule });
        }
        filled.push((name.clone(), content));
    }
    Ok(filled)
}

/// The entries of the partition table.
fn entries(uuid: Uuid, layout: &Layout, others: &[(String, Filled)]) -> Vec<gpt::Entry> {
    let files = (gpt::TYPE_FILES, &layout.files, FILES);
    let others =
        layout.others.iter().zip(others).map(|(slice, (name, filled))| (filled.kind(), slice, &**name));
    let all = std::iter::once(files).chain(others).zip(layout::NUMBER_OF_FILES..);
    // Names and ranges were checked before.
    all.filter_map(|((kind, slice, name), number)| {
        gpt::Entry::new(kind, uuid.offset(number), slice.first, slice.last, name)
    })
    .collect()
}

/// Writes the file table, both copies, and the contents of the files.
fn write_files(draft: &Draft, partition: &Slice, uuid: Uuid, files: &Placed) -> Result<(), ImageError> {
    let start = partition.first * SECTOR;
    let mut header = TableHeader::new(uuid, partition.blocks());
    let entries: Vec<_> = files.files.iter().map(|file| file.entry).collect();
    for _ in 0..2 {
        // The builder's own files are sound, so what remains is their number.
        let most = shared::disk::files::MAX_FILES;
        header = header.next(&entries).map_err(|_| ImageError::TooMany(entries.len(), "file", most))?;
        let mut slot = header.as_bytes().to_vec();
        slot.extend_from_slice(entries.as_bytes());
        let offset = start + u64::from(header.slot()) * SLOT_BYTES as u64;
        draft.file().write_all_at(&slot, offset).map_err(draft.error())?;
    }
    for file in &files.files {
        for extent in file.entry.extents() {
            let from = u64::from(extent.logical()) * BLOCK;
            let length = (u64::from(extent.blocks()) * BLOCK).min(file.entry.valid().saturating_sub(from));
            file.content.copy(draft, from, length, start + u64::from(extent.start()) * BLOCK)?;
        }
    }
    Ok(())
}
