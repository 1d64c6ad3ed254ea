//! Takes a file or a partition out of a data volume.

use std::io::Write;
use std::path::Path;

use shared::disk::BLOCK;
use shared::disk::files::{AREA_BYTES, Copies, FileEntry};
use shared::disk::gpt::TYPE_FILES;

use crate::ImageError;
use crate::gpt::Tables;
use crate::source::Source;

/// Bytes copied in one go.
const CHUNK: u64 = 1 << 20;

/// Writes the contents of the file `name` of the image at `path` to `out`, or of the partition of that name if
/// there is no such file.
pub fn extract(path: &Path, name: &str, out: &mut dyn Write) -> Result<(), ImageError> {
    let source = Source::open(path)?;
    let tables = Tables::read(&source)?;
    let table = tables
        .current()
        .ok_or_else(|| ImageError::Damaged { path: path.to_owned(), what: "partition table" })?;
    let partitions = || table.entries().filter_map(|(_, entry)| Some((entry, table.place(entry)?)));
    for (_, place) in partitions().filter(|(entry, _)| entry.kind() == TYPE_FILES) {
        let area = source.read(place.start, AREA_BYTES)?;
        let copies = Copies::read(&area, (place.end - place.start) / BLOCK);
        let files = copies.current().map(|table| table.files()).unwrap_or_default();
        if let Some(file) = files.iter().find(|file| file.name() == name) {
            return copy_file(&source, place.start, file, out);
        }
    }
    match partitions().find(|(entry, _)| entry.name().eq(name.chars())) {
        Some((_, place)) => copy(&source, place.start, place.end - place.start, out),
        None => Err(ImageError::NoSuchName { path: path.to_owned(), name: name.to_owned() }),
    }
}

/// Copies the file whose partition begins at byte `start`, holes and what was never written as zeros.
fn copy_file(source: &Source, start: u64, file: &FileEntry, out: &mut dyn Write) -> Result<(), ImageError> {
    let mut done = 0;
    for extent in file.extents() {
        let from = (u64::from(extent.logical()) * BLOCK).min(file.valid());
        let to = ((u64::from(extent.logical()) + u64::from(extent.blocks())) * BLOCK).min(file.valid());
        zeros(from - done, out)?;
        copy(source, start + u64::from(extent.start()) * BLOCK, to - from, out)?;
        done = to;
    }
    zeros(file.size() - done, out)
}

fn copy(source: &Source, from: u64, length: u64, out: &mut dyn Write) -> Result<(), ImageError> {
    let mut done = 0;
    while done < length {
        let part = (length - done).min(CHUNK);
        let bytes = source.read(from + done, part as usize)?;
        if bytes.len() as u64 != part {
            return Err(ImageError::Damaged { path: source.path().to_owned(), what: "end: it is cut off" });
        }
        out.write_all(&bytes).map_err(ImageError::Output)?;
        done += part;
    }
    Ok(())
}

fn zeros(mut length: u64, out: &mut dyn Write) -> Result<(), ImageError> {
    let block = vec![0; length.min(CHUNK) as usize];
    while length > 0 {
        let part = length.min(CHUNK);
        out.write_all(block.get(..part as usize).unwrap_or(&block)).map_err(ImageError::Output)?;
        length -= part;
    }
    Ok(())
}
