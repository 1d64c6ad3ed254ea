//! What a file table says, and whether it is sound.

use std::ops::Range;

use shared::disk::BLOCK;
use shared::disk::files::{AREA_BYTES, Copies, DATA_START, FileEntry};

use super::{FileFacts, Inspection, TableFacts};
use crate::ImageError;
use crate::source::Source;

/// Reports on the file table of partition `number`, whose bytes are `place`.
pub fn inspect(
    source: &Source,
    number: u32,
    place: Range<u64>,
    found: &mut Inspection,
) -> Result<(), ImageError> {
    let area = source.read(place.start, AREA_BYTES)?;
    let copies = Copies::read(&area, (place.end - place.start) / BLOCK);
    let table = match copies.current() {
        Ok(table) => table,
        Err(error) => {
            found.errors.push(format!("partition {number}: no sound file table: {error}"));
            return Ok(());
        }
    };
    for (slot, copy) in copies.slots.iter().enumerate() {
        match copy {
            Err(error) => found.warnings.push(format!(
                "partition {number}: copy {slot} of the file table: {error}; the other one is in force"
            )),
            Ok(other) if other.header().uuid() != table.header().uuid() => {
                found
                    .errors
                    .push(format!("partition {number}: the copies of the file table are of two volumes"));
            }
            Ok(_) => {}
        }
    }
    let used: u64 = table.files().iter().map(FileEntry::blocks).sum();
    let header = table.header();
    found.tables.push(TableFacts {
        partition: number,
        uuid: header.uuid().to_string(),
        sequence: header.sequence(),
        slot: header.slot(),
        copies: copies.slots.iter().flatten().count() as u32,
        files: table.files().len() as u32,
        blocks: header.blocks().into(),
        free_blocks: u64::from(header.blocks().saturating_sub(DATA_START)) - used,
    });
    found.files.extend(table.files().iter().map(|file| facts(number, file)));
    Ok(())
}

fn facts(partition: u32, file: &FileEntry) -> FileFacts {
    let extents = file.extents();
    let before_end = extents.iter().map(|extent| {
        let start = (u64::from(extent.logical()) * BLOCK).min(file.size());
        let end = (u64::from(extent.logical()) + u64::from(extent.blocks())) * BLOCK;
        end.min(file.size()) - start
    });
    FileFacts {
        partition,
        name: file.name().to_owned(),
        bytes: file.size(),
        valid: file.valid(),
        room: file.blocks() * BLOCK,
        extents: extents.iter().map(|extent| [extent.logical(), extent.start(), extent.blocks()]).collect(),
        holes: file.size() - before_end.sum::<u64>(),
    }
}
