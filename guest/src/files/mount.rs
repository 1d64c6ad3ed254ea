//! Finding volumes: what `root=` and `disk.N.fs=` name, in a partition or on a whole disk.
//!
//! Owns: reading partition tables, and which of their partitions is meant. A disk without a partition table may begin with
//! a volume; of one with a table the first partition for files counts, unless a number says another.

use super::table::Buffer;
use super::volume::DataVolume;
use crate::boot_info;
use crate::console;
use crate::drivers::blk::{self, Disk};
use crate::memory;
use crate::text::Text;
use core::fmt::{self, Write};
use mm::addr::PAGE_SIZE;
use mm::errno::Errno;
use mm::sync::{InitError, Once};
use shared::disk::files::{AREA_BYTES, Copies, SLOT_BLOCKS, SLOT_BYTES, Table, TableError, Volume};
use shared::disk::gpt::{GptError, Header, Mbr, PRIMARY, TYPE_FILES};
use shared::disk::{BLOCK, SECTOR};
use shared::params::{Value, check, find_last, lookup};

const ROOT: &str = "root";
/// Sectors of a block.
const BLOCK_SECTORS: u64 = BLOCK / SECTOR;

/// Why there is no volume.
enum Missing {
    /// No such disk.
    Device,
    /// No such partition.
    Partition,
    /// It does not begin at a block, or goes beyond the disk.
    Place,
    Partitions(GptError),
    Table(TableError),
    Disk(Errno),
}

impl From<Errno> for Missing {
    fn from(error: Errno) -> Self {
        Self::Disk(error)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str("no such device"),
            Self::Partition => f.write_str("no such partition for files"),
            Self::Place => f.write_str("the partition is in no place for files"),
            Self::Partitions(error) => write!(f, "partition table: {error}"),
            Self::Table(error) => write!(f, "file table: {error}"),
            Self::Disk(error) => write!(f, "{error}"),
        }
    }
}

/// Mounts what the command line names.
pub fn all(cmdline: &str, volumes: &'static [Once<Option<DataVolume>>]) {
    for (slot, number) in volumes.iter().zip(0_usize..) {
        let mut name = Text::<32>::new();
        let _ = match number.checked_sub(1) {
            None => name.write_str(ROOT),
            Some(n) => write!(name, "disk.{n}.fs"),
        };
        let given = find_last(cmdline, name.as_str()).and_then(|token| {
            match check(lookup(name.as_str())?, token.value) {
                Ok(Value::Device(device)) => Some(device),
                // What is no name was reported with the other parameters.
                _ => None,
            }
        });
        let Some(device) = given else { continue };
        if let Err(InitError::Failed(missing)) = fill(slot, device) {
            console::print(format_args!("{}=: {device}: {missing}\n", name.as_str()));
        }
    }
}

/// Mounts the first disk as the root, if it has files and no root was named.
///
/// # Errors
/// `Enomem`, `Eio`: nobody knows whether it has.
pub fn root_if_unnamed(root: &'static Once<Option<DataVolume>>) -> Result<(), Errno> {
    if boot_info::get().is_none_or(|info| find_last(info.cmdline(), ROOT).is_some()) {
        return Ok(());
    }
    match fill(root, "vda") {
        Err(InitError::Failed(Missing::Disk(error))) => Err(error),
        // Without files there is no root.
        _ => Ok(()),
    }
}

fn fill(slot: &'static Once<Option<DataVolume>>, device: &str) -> Result<(), InitError<Missing>> {
    slot.init(|slot| {
        *slot = Some(mount(device)?);
        Ok(())
    })
}

fn mount(device: &str) -> Result<DataVolume, Missing> {
    let name = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = device.get(name.len()..).and_then(|digits| digits.parse::<u32>().ok());
    let disk = blk::find(name).ok_or(Missing::Device)?;
    let Part { number, first, sectors } = partition(disk, number)?;
    let inside = first.checked_add(sectors).is_some_and(|end| end <= disk.sectors());
    if !inside || !first.is_multiple_of(BLOCK_SECTORS) {
        return Err(Missing::Place);
    }
    begins_with_a_table(disk, first)?;
    let mut area = Buffer::new(AREA_BYTES).ok_or(Errno::Enomem)?;
    let copies = Copies::read(area.read(disk, first)?, sectors / BLOCK_SECTORS);
    let table = copies.current().map_err(Missing::Table)?;
    let buffer = Buffer::new(SLOT_BYTES).ok_or(Errno::Enomem)?;
    let state = new_volume().ok_or(Errno::Enomem)?;
    state.load(&table);
    Ok(DataVolume::new(disk, number, first, state, buffer))
}

/// Looks at the first block of each copy, so that a disk without files costs little.
fn begins_with_a_table(disk: &'static Disk, first: u64) -> Result<(), Missing> {
    let mut block = Buffer::new(BLOCK as usize).ok_or(Errno::Enomem)?;
    for slot in [0, 1] {
        let bytes = block.read(disk, first + slot * SLOT_BLOCKS * BLOCK_SECTORS)?;
        if !matches!(Table::read(bytes, slot as u32, u64::MAX), Err(TableError::NoTable)) {
            return Ok(());
        }
    }
    Err(Missing::Table(TableError::NoTable))
}

/// A volume without files, for good.
fn new_volume() -> Option<&'static mut Volume> {
    let (_, memory) = memory::dma_alloc(size_of::<Volume>().div_ceil(PAGE_SIZE as usize))?;
    // SAFETY: the block is ours for good, page-aligned and large enough, and all zeroes is a volume.
    Some(unsafe { memory.cast::<Volume>().as_mut() })
}

/// First sector and length of partition `number` of a disk, if there is one and it lies on the disk.
pub fn numbered(disk: &'static Disk, number: u32) -> Option<(u64, u64)> {
    let Part { first, sectors, .. } = partition(disk, Some(number)).ok()?;
    first.checked_add(sectors).is_some_and(|end| end <= disk.sectors()).then_some((first, sectors))
}

/// A partition, or a whole disk.
#[derive(Clone, Copy)]
struct Part {
    /// 0 for the disk.
    number: u32,
    first: u64,
    sectors: u64,
}

/// The partition that is meant.
fn partition(disk: &'static Disk, number: Option<u32>) -> Result<Part, Missing> {
    let mut sector = Buffer::new(SECTOR as usize).ok_or(Errno::Enomem)?;
    if Mbr::check(sector.read(disk, 0)?, disk.sectors()).is_err() {
        return match number {
            None => Ok(Part { number: 0, first: 0, sectors: disk.sectors() }),
            Some(_) => Err(Missing::Partition),
        };
    }
    let first = in_table(disk, number, PRIMARY, &mut sector);
    match first {
        // The other copy is at the end.
        Err(Missing::Partitions(_)) => {
            in_table(disk, number, disk.sectors().saturating_sub(1), &mut sector).or(first)
        }
        found => found,
    }
}

/// The same, by the copy of the partition table whose header is at `lba`.
fn in_table(
    disk: &'static Disk,
    number: Option<u32>,
    lba: u64,
    sector: &mut Buffer,
) -> Result<Part, Missing> {
    let header = Header::read(sector.read(disk, lba)?, lba, disk.sectors()).map_err(Missing::Partitions)?;
    let mut entries = Buffer::new(header.entry_bytes().max(1)).ok_or(Errno::Enomem)?;
    let bytes = entries.read(disk, header.entries_lba.get())?;
    let mut used = header.entries(bytes).map_err(Missing::Partitions)?;
    let is_meant = |&(n, kind): &(u32, bool)| number.map_or(kind, |number| n == number);
    let found = used.find(|&(n, entry)| is_meant(&(n, entry.kind() == TYPE_FILES)));
    let (number, entry) = found.ok_or(Missing::Partition)?;
    let (first, to) = (entry.first(), entry.last());
    Ok(Part { number, first, sectors: to.checked_sub(first).map_or(0, |length| length + 1) })
}
