//! GUID partition tables.
//!
//! Owns: the protective MBR, headers and entries, and the checks of each. Stays outside: which of the two
//! copies to use, and what is in a partition.
//! Source: UEFI Specification 2.10, section 5.3; sectors have 512 bytes.

use core::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::uuid::{Guid, Uuid};
use super::{SECTOR, crc32};

/// Sector of the primary header. The backup is the last sector of the disk.
pub const PRIMARY: u64 = 1;
/// Entries that every table has room for, used or not.
pub const ENTRIES: u32 = 128;
/// Sectors of [`ENTRIES`] entries.
pub const ENTRY_SECTORS: u64 = ENTRIES as u64 * ENTRY_SIZE as u64 / SECTOR;
/// Most entries a reader has to expect; the specification sets no limit.
pub const MAX_ENTRIES: u32 = 1024;

/// Partition type: data of any kind ("Linux filesystem data"), for raw partitions.
pub const TYPE_DATA: Uuid = Uuid(0x0fc63daf_8483_4772_8e79_3d69d8477de4_u128.to_be_bytes());
/// Partition type: a Linux swap area.
pub const TYPE_SWAP: Uuid = Uuid(0x0657fd6d_a4ab_43c4_84e5_0933c84b4f4f_u128.to_be_bytes());
/// Partition type: a file table of Ballast.
pub const TYPE_FILES: Uuid = Uuid(0xb1f1a57e_5e0d_4c4d_9c27_6d0a7c3f9e21_u128.to_be_bytes());

const SIGNATURE: [u8; 8] = *b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_SIZE: usize = size_of::<Header>();
const ENTRY_SIZE: usize = size_of::<Entry>();
const PROTECTIVE: u8 = 0xee;
const BOOT_SIGNATURE: u16 = 0xaa55;

/// The protective MBR in sector 0, which keeps old tools from taking the disk for an empty one.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Mbr {
    boot_code: [u8; 446],
    partitions: [MbrPartition; 4],
    signature: U16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MbrPartition {
    status: u8,
    first_chs: [u8; 3],
    kind: u8,
    last_chs: [u8; 3],
    first_lba: U32,
    sectors: U32,
}

/// A header, primary or backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    signature: [u8; 8],
    revision: U32,
    header_size: U32,
    header_crc: U32,
    reserved: U32,
    /// The sector this header is in.
    pub my_lba: U64,
    /// The sector the other header is in.
    pub alternate_lba: U64,
    /// First sector that partitions may use.
    pub first_usable: U64,
    /// Last sector that partitions may use.
    pub last_usable: U64,
    disk: Guid,
    /// First sector of the entries that belong to this header.
    pub entries_lba: U64,
    entry_count: U32,
    entry_size: U32,
    entries_crc: U32,
}

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Entry {
    kind: Guid,
    unique: Guid,
    first: U64,
    last: U64,
    attributes: U64,
    name: [U16; 36],
}

/// What is wrong with a partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptError {
    /// The MBR has no boot signature, or does not cover the disk with one protective partition.
    Mbr,
    /// There is no header.
    NoHeader,
    /// A version, size or place that this version of the specification does not have.
    Unknown,
    /// The header does not have its checksum.
    HeaderChecksum,
    /// The header says that it is somewhere else.
    Place,
    /// The usable sectors, the entries and the disk do not fit together.
    Geometry,
    /// The entries do not have their checksum.
    EntriesChecksum,
}

impl fmt::Display for GptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mbr => "no protective MBR that covers the disk",
            Self::NoHeader => "no header",
            Self::Unknown => "a header of an unknown version or size",
            Self::HeaderChecksum => "bad checksum of the header",
            Self::Place => "the header belongs to another sector",
            Self::Geometry => "usable sectors, entries and disk do not fit together",
            Self::EntriesChecksum => "bad checksum of the entries",
        })
    }
}

impl Mbr {
    /// The protective MBR of a disk of `sectors` sectors.
    #[must_use]
    pub fn protective(sectors: u64) -> Self {
        let partition = MbrPartition {
            status: 0,
            first_chs: [0, 2, 0],
            kind: PROTECTIVE,
            // Nothing that cylinders, heads and sectors can say.
            last_chs: [0xff; 3],
            first_lba: U32::new(PRIMARY as u32),
            sectors: U32::new(u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX)),
        };
        let unused = MbrPartition::default();
        Self {
            boot_code: [0; 446],
            partitions: [partition, unused, unused, unused],
            signature: U16::new(BOOT_SIGNATURE),
        }
    }

    /// Checks the MBR in `sector` of a disk of `sectors` sectors. A disk may have grown since.
    ///
    /// # Errors
    /// [`GptError::Mbr`].
    pub fn check(sector: &[u8], sectors: u64) -> Result<(), GptError> {
        let Ok((mbr, _)) = Self::ref_from_prefix(sector) else { return Err(GptError::Mbr) };
        let [protective, others @ ..] = &mbr.partitions;
        let covers = protective.first_lba.get() == 1
            && (protective.sectors.get() == u32::MAX || u64::from(protective.sectors.get()) < sectors);
        let alone = others.iter().all(|other| *other == MbrPartition::default());
        let right =
            mbr.signature.get() == BOOT_SIGNATURE && protective.kind == PROTECTIVE && protective.status == 0;
        if right && covers && alone { Ok(()) } else { Err(GptError::Mbr) }
    }
}

impl Header {
    /// The primary header of a disk of `sectors` sectors with [`ENTRIES`] entries, not sealed. `None` when the
    /// disk is too small for two copies and a usable sector.
    #[must_use]
    pub fn primary(disk: Uuid, sectors: u64) -> Option<Self> {
        let first_usable = PRIMARY + 1 + ENTRY_SECTORS;
        let last_usable = sectors.checked_sub(2 + ENTRY_SECTORS)?;
        (first_usable <= last_usable).then(|| Self {
            signature: SIGNATURE,
            revision: U32::new(REVISION),
            header_size: U32::new(HEADER_SIZE as u32),
            header_crc: U32::new(0),
            reserved: U32::new(0),
            my_lba: U64::new(PRIMARY),
            alternate_lba: U64::new(sectors - 1),
            first_usable: U64::new(first_usable),
            last_usable: U64::new(last_usable),
            disk: Guid::new(disk),
            entries_lba: U64::new(PRIMARY + 1),
            entry_count: U32::new(ENTRIES),
            entry_size: U32::new(ENTRY_SIZE as u32),
            entries_crc: U32::new(0),
        })
    }

    /// The backup of a primary header, whose entries are just before it, not sealed.
    #[must_use]
    pub fn backup(&self) -> Self {
        Self {
            my_lba: self.alternate_lba,
            alternate_lba: self.my_lba,
            entries_lba: U64::new(self.last_usable.get() + 1),
            ..*self
        }
    }

    /// Sets the checksums, for these entries.
    pub fn seal(&mut self, entries: &[u8]) {
        self.entries_crc = U32::new(crc32(&[entries]));
        self.header_crc = U32::new(0);
        self.header_crc = U32::new(crc32(&[self.as_bytes()]));
    }

    /// Reads the header in `sector`, which is sector `lba` of a disk of `sectors` sectors. The entries of what
    /// is returned lie on the disk.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(sector: &[u8], lba: u64, sectors: u64) -> Result<Self, GptError> {
        let (header, _) = Self::read_from_prefix(sector).map_err(|_| GptError::NoHeader)?;
        if header.signature != SIGNATURE {
            return Err(GptError::NoHeader);
        }
        let size = usize::try_from(header.header_size.get()).unwrap_or(usize::MAX);
        let Some(covered) = sector.get(..size).filter(|covered| covered.len() >= HEADER_SIZE) else {
            return Err(GptError::Unknown);
        };
        let unsealed = Self { header_crc: U32::new(0), ..header };
        if crc32(&[unsealed.as_bytes(), covered.get(HEADER_SIZE..).unwrap_or_default()])
            != header.header_crc.get()
        {
            return Err(GptError::HeaderChecksum);
        }
        let entry_size = usize::try_from(header.entry_size.get()).unwrap_or(0);
        if header.revision.get() != REVISION
            || entry_size != ENTRY_SIZE
            || header.entry_count.get() > MAX_ENTRIES
        {
            return Err(GptError::Unknown);
        }
        if header.my_lba.get() != lba {
            return Err(GptError::Place);
        }
        header.geometry(sectors).ok_or(GptError::Geometry)?;
        Ok(header)
    }

    /// `None` unless everything the header names lies on a disk of `sectors` sectors and nothing overlaps.
    fn geometry(&self, sectors: u64) -> Option<()> {
        let (first, last) = (self.first_usable.get(), self.last_usable.get());
        let entries = self.entries_lba.get();
        let entries_end = entries.checked_add((self.entry_bytes() as u64).div_ceil(SECTOR))?;
        let apart = entries_end <= first || entries > last;
        let fits = first <= last && last < sectors && entries > PRIMARY && entries_end <= sectors;
        let header_apart = self.my_lba.get() < first || self.my_lba.get() > last;
        (fits && apart && header_apart).then_some(())
    }

    /// The disk's identifier.
    #[must_use]
    pub fn disk(&self) -> Uuid {
        self.disk.uuid()
    }

    /// Bytes of the entries, at most 128 KiB for a header that was read.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        self.entry_count.get() as usize * ENTRY_SIZE
    }

    /// The used ones of the entries in `bytes`, with their numbers, which begin with 1.
    ///
    /// # Errors
    /// [`GptError::EntriesChecksum`].
    pub fn entries<'b>(&self, bytes: &'b [u8]) -> Result<impl Iterator<Item = (u32, &'b Entry)>, GptError> {
        let bytes = bytes.get(..self.entry_bytes()).ok_or(GptError::EntriesChecksum)?;
        if crc32(&[bytes]) != self.entries_crc.get() {
            return Err(GptError::EntriesChecksum);
        }
        let entries = <[Entry]>::ref_from_bytes(bytes).map_err(|_| GptError::EntriesChecksum)?;
        Ok((1..).zip(entries).filter(|(_, entry)| entry.kind != Guid::default()))
    }

    /// Whether `other` describes the same disk as this, from the other place.
    #[must_use]
    pub fn is_twin_of(&self, other: &Self) -> bool {
        let mut moved = Self { entries_lba: other.entries_lba, header_crc: other.header_crc, ..*self };
        core::mem::swap(&mut moved.my_lba, &mut moved.alternate_lba);
        moved == *other
    }
}

impl Entry {
    /// A partition of type `kind` from sector `first` to `last`, both included. `None` when the name is longer
    /// than 36 UTF-16 units or the range is empty.
    #[must_use]
    pub fn new(kind: Uuid, unique: Uuid, first: u64, last: u64, name: &str) -> Option<Self> {
        let mut units = [U16::new(0); 36];
        let mut rest = units.iter_mut();
        for unit in name.encode_utf16() {
            rest.next()?.set(unit);
        }
        (first <= last).then(|| Self {
            kind: Guid::new(kind),
            unique: Guid::new(unique),
            first: U64::new(first),
            last: U64::new(last),
            attributes: U64::new(0),
            name: units,
        })
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> Uuid {
        self.kind.uuid()
    }

    /// Its identifier.
    #[must_use]
    pub fn unique(&self) -> Uuid {
        self.unique.uuid()
    }

    /// First sector.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first.get()
    }

    /// Last sector, included.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.get()
    }

    /// Its name; what is no UTF-16 becomes U+FFFD.
    pub fn name(&self) -> impl Iterator<Item = char> {
        let units = self.name.iter().map(|unit| unit.get()).take_while(|unit| *unit != 0);
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

const _: () = assert!(size_of::<Mbr>() == SECTOR as usize);
const _: () = assert!(HEADER_SIZE == 92 && ENTRY_SIZE == 128);
