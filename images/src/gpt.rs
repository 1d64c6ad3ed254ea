//! Partition tables on images: both copies written, whichever is sound read.
//!
//! Stays outside: the format (`shared::disk::gpt`) and what partitions mean.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use shared::disk::SECTOR;
use shared::disk::gpt::{self, Entry, GptError, Header, Mbr};
use zerocopy::IntoBytes;

use crate::ImageError;
use crate::source::Source;

/// Writes MBR, headers and entries. `header` is the primary one, not sealed; there are at most
/// [`gpt::ENTRIES`] entries.
pub fn write(file: &File, mut header: Header, entries: &[Entry]) -> io::Result<()> {
    let mut bytes = entries.as_bytes().to_vec();
    bytes.resize(header.entry_bytes(), 0);
    let sectors = header.alternate_lba.get() + 1;
    let mut backup = header.backup();
    file.write_all_at(Mbr::protective(sectors).as_bytes(), 0)?;
    for header in [&mut header, &mut backup] {
        header.seal(&bytes);
        file.write_all_at(header.as_bytes(), header.my_lba.get() * SECTOR)?;
        file.write_all_at(&bytes, header.entries_lba.get() * SECTOR)?;
    }
    Ok(())
}

/// One copy of a table: a header and its entries, both with the right checksums.
#[derive(Debug)]
pub struct Copy {
    /// The header.
    pub header: Header,
    bytes: Vec<u8>,
}

impl Copy {
    fn read(source: &Source, lba: u64) -> Result<Result<Self, GptError>, ImageError> {
        let sectors = source.bytes() / SECTOR;
        let sector = source.read(lba.saturating_mul(SECTOR), SECTOR as usize)?;
        let header = match Header::read(&sector, lba, sectors) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        let bytes = source.read(header.entries_lba.get() * SECTOR, header.entry_bytes())?;
        let whole = header.entries(&bytes).map(drop);
        Ok(whole.map(|()| Self { header, bytes }))
    }

    /// The used entries with their numbers.
    pub fn entries(&self) -> impl Iterator<Item = (u32, &Entry)> {
        // The checksum was right when the copy was read.
        self.header.entries(&self.bytes).into_iter().flatten()
    }

    /// The bytes of the image that a partition takes; `None` unless it is within the usable sectors.
    pub fn place(&self, entry: &Entry) -> Option<Range<u64>> {
        let usable = self.header.first_usable.get()..=self.header.last_usable.get();
        let sound = entry.first() <= entry.last()
            && usable.contains(&entry.first())
            && usable.contains(&entry.last());
        // Usable sectors lie on the image.
        sound.then(|| entry.first() * SECTOR..(entry.last() + 1) * SECTOR)
    }

    /// Whether `other` says the same.
    pub fn is_twin_of(&self, other: &Self) -> bool {
        self.header.is_twin_of(&other.header) && self.bytes == other.bytes
    }
}

/// The partition tables of an image.
#[derive(Debug)]
pub struct Tables {
    /// What is wrong with sector 0.
    pub mbr: Result<(), GptError>,
    /// The copy in sector 1.
    pub primary: Result<Copy, GptError>,
    /// The copy at the end of the disk.
    pub backup: Result<Copy, GptError>,
    /// Sector of the backup's header.
    pub backup_lba: u64,
}

impl Tables {
    /// Reads whatever tables `source` has.
    pub fn read(source: &Source) -> Result<Self, ImageError> {
        let sectors = source.bytes() / SECTOR;
        let mbr = Mbr::check(&source.read(0, SECTOR as usize)?, sectors);
        let primary = Copy::read(source, gpt::PRIMARY)?;
        let last = sectors.saturating_sub(1);
        let backup_lba = primary.as_ref().map_or(last, |copy| copy.header.alternate_lba.get());
        let backup = match backup_lba {
            gpt::PRIMARY => Err(GptError::Place),
            lba => Copy::read(source, lba)?,
        };
        Ok(Self { mbr, primary, backup, backup_lba })
    }

    /// The table to go by: the primary one if it is sound.
    pub fn current(&self) -> Option<&Copy> {
        self.primary.as_ref().or(self.backup.as_ref()).ok()
    }
}
