//! What partition tables say, and whether they are sound.

use std::ops::Range;

use shared::disk::SECTOR;
use shared::disk::gpt::{Entry, GptError, Header, PRIMARY, TYPE_DATA, TYPE_FILES, TYPE_SWAP};

use super::{DiskFacts, Inspection, PartitionFacts, files, swap};
use crate::ImageError;
use crate::gpt::{Copy, Tables};
use crate::source::Source;

/// Whether the image has, or had, a partition table.
pub fn is_partitioned(source: &Source, tables: &Tables) -> Result<bool, ImageError> {
    let absent = |copy: &Result<Copy, GptError>| matches!(copy, Err(GptError::NoHeader));
    let traces = tables.mbr.is_ok() && source.bytes() > SECTOR;
    Ok(traces || !absent(&tables.primary) || !absent(&tables.backup))
}

/// Reports on the tables and on everything inside the partitions.
pub fn inspect(source: &Source, tables: &Tables, found: &mut Inspection) -> Result<(), ImageError> {
    if let Some(needed) = size_of_disk(source)?.filter(|needed| *needed > source.bytes()) {
        found.errors.push(format!("the image is cut off: {} bytes of {needed} are left", source.bytes()));
    }
    if let Err(error) = tables.mbr {
        found.errors.push(format!("sector 0: {error}"));
    }
    for (name, lba, copy) in
        [("primary", PRIMARY, &tables.primary), ("backup", tables.backup_lba, &tables.backup)]
    {
        if let Err(error) = copy {
            found.errors.push(format!("{name} partition table in sector {lba}: {error}"));
        }
    }
    if let (Ok(primary), Ok(backup)) = (&tables.primary, &tables.backup) {
        if !primary.is_twin_of(backup) {
            found.errors.push("the primary and the backup partition table differ".into());
        }
        let last = source.bytes() / SECTOR - 1;
        if tables.backup_lba < last {
            let at = tables.backup_lba;
            found
                .warnings
                .push(format!("the backup partition table is in sector {at}, not in the last, {last}"));
        }
    }
    match tables.current() {
        Some(table) => partitions(source, table, found),
        None => Ok(()),
    }
}

/// Bytes of the disk that the primary header was made for, if it has its checksum.
fn size_of_disk(source: &Source) -> Result<Option<u64>, ImageError> {
    let sector = source.read(PRIMARY * SECTOR, SECTOR as usize)?;
    let header = Header::read(&sector, PRIMARY, u64::MAX).ok();
    Ok(header.and_then(|header| header.alternate_lba.get().checked_add(1)?.checked_mul(SECTOR)))
}

fn partitions(source: &Source, table: &Copy, found: &mut Inspection) -> Result<(), ImageError> {
    found.disk = Some(DiskFacts {
        uuid: table.header.disk().to_string(),
        first_lba: table.header.first_usable.get(),
        last_lba: table.header.last_usable.get(),
    });
    let mut sound: Vec<(u32, &Entry, Range<u64>)> = Vec::new();
    for (number, entry) in table.entries() {
        found.partitions.push(PartitionFacts {
            number,
            name: entry.name().collect(),
            kind: kind(entry),
            uuid: entry.unique().to_string(),
            first_lba: entry.first(),
            last_lba: entry.last(),
        });
        let Some(place) = table.place(entry) else {
            found.errors.push(format!("partition {number} lies outside the usable sectors"));
            continue;
        };
        for (other, entry_of_other, taken) in &sound {
            if taken.start < place.end && place.start < taken.end {
                found.errors.push(format!("partitions {other} and {number} overlap"));
            }
            if entry_of_other.unique() == entry.unique() {
                found.errors.push(format!("partitions {other} and {number} have the same identifier"));
            }
        }
        sound.push((number, entry, place));
    }
    for (number, entry, place) in sound {
        match entry.kind() {
            TYPE_FILES => files::inspect(source, number, place, found)?,
            TYPE_SWAP => swap::inspect(source, Some(number), place, found)?,
            _ => {}
        }
    }
    Ok(())
}

fn kind(entry: &Entry) -> String {
    match entry.kind() {
        TYPE_FILES => "files".into(),
        TYPE_DATA => "data".into(),
        TYPE_SWAP => "swap".into(),
        other => other.to_string(),
    }
}
