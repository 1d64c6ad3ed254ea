//! Where files are in their partition: one after the other, each in one extent, or in a few when it is sparse.

use std::ops::Range;

use shared::disk::BLOCK;
use shared::disk::files::{DATA_START, Extent, FileEntry, MAX_EXTENTS, MAX_FILES, MAX_SIZE, is_name};

use super::FileSpec;
use super::content::Open;
use crate::ImageError;

/// A file with its place and its contents.
#[derive(Debug)]
pub struct PlacedFile {
    /// Its entry in the table.
    pub entry: FileEntry,
    /// Its contents.
    pub content: Open,
}

/// All files.
#[derive(Debug)]
pub struct Placed {
    /// In the order they were given.
    pub files: Vec<PlacedFile>,
    /// Blocks of the partition in use, the file table included.
    pub blocks: u64,
}

/// Opens, measures and places `files`.
pub fn place(files: &[FileSpec]) -> Result<Placed, ImageError> {
    if files.len() > MAX_FILES {
        return Err(ImageError::TooMany(files.len(), "file", MAX_FILES));
    }
    let mut placed = Placed { files: Vec::with_capacity(files.len()), blocks: DATA_START.into() };
    for (at, file) in files.iter().enumerate() {
        if !is_name(&file.name) {
            let rule =
                "it has 1 to 63 bytes, no control character, and no empty part, `.` or `..` between `/`";
            return Err(ImageError::Name(file.name.clone(), "file", rule));
        }
        if files.iter().take(at).any(|other| other.name == file.name) {
            return Err(ImageError::SameName(file.name.clone(), "file"));
        }
        let content = file.content.open()?;
        let size = content.bytes();
        let runs = runs(file, &content)?;
        let too_large = || ImageError::Size {
            what: format!("file {}", file.name),
            bytes: size.max(file.room),
            rule: "a file of a data volume is smaller than 16T",
        };
        let mut extents = Vec::with_capacity(runs.len());
        for run in runs {
            let (logical, blocks) = (u32::try_from(run.start), u32::try_from(run.end - run.start));
            let start = u32::try_from(placed.blocks);
            let (Ok(logical), Ok(blocks), Ok(start)) = (logical, blocks, start) else {
                return Err(too_large());
            };
            extents.push(Extent::new(logical, start, blocks));
            placed.blocks += u64::from(blocks);
        }
        let valid = if content.is_zeros() { 0 } else { size };
        let entry = FileEntry::new(&file.name, size, valid, &extents)
            .filter(|_| size.max(file.room) <= MAX_SIZE)
            .ok_or_else(too_large)?;
        placed.files.push(PlacedFile { entry, content });
    }
    Ok(placed)
}

/// The runs of blocks a file gets, at most [`MAX_EXTENTS`].
fn runs(file: &FileSpec, content: &Open) -> Result<Vec<Range<u64>>, ImageError> {
    let (end, room) = (content.bytes().div_ceil(BLOCK), file.room.div_ceil(BLOCK));
    let mut runs = if file.sparse { content.runs()? } else { std::iter::once(0..end).collect() };
    match runs.last_mut() {
        Some(last) if last.end == end => last.end = room.max(end),
        _ => runs.push(end..room.max(end)),
    }
    runs.retain(|run| !run.is_empty());
    // Where there are more holes than extents, the smallest ones are filled.
    while runs.len() > MAX_EXTENTS {
        let gap = |at: &usize| {
            runs.get(at + 1).map_or(0, |next| next.start) - runs.get(*at).map_or(0, |run| run.end)
        };
        let Some(smallest) = (0..runs.len() - 1).min_by_key(gap) else { break };
        let next = runs.remove(smallest + 1);
        if let Some(run) = runs.get_mut(smallest) {
            run.end = next.end;
        }
    }
    Ok(runs)
}
