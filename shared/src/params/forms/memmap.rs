//! `memmap=`: changes to the memory map. Source: Linux `arch/x86/kernel/e820.c`.

use crate::layout::PAGE_SIZE;
use crate::params::number::memparse;
use crate::params::spec::Problem;

/// What a `memmap=` range becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemmapType {
    /// `nn@ss`: usable RAM.
    Ram,
    /// `nn$ss`: reserved.
    Reserved,
    /// `nn#ss`: ACPI data.
    Acpi,
}

/// One entry of `memmap=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemmapEntry {
    /// `exactmap`: forget the firmware's map; the entries that follow make the map.
    Exact,
    /// A range.
    Range {
        /// First physical address.
        start: u64,
        /// Size in bytes; not 0, and the end does not pass 64 bits.
        size: u64,
        /// What it becomes.
        kind: MemmapType,
    },
}

/// A checked `memmap=` value: entries between commas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemmapList<'a> {
    text: &'a str,
}

impl<'a> MemmapList<'a> {
    pub(in crate::params) fn parse(text: &'a str) -> Result<Self, Problem> {
        text.split(',').try_for_each(|entry| parse_entry(entry).map(drop))?;
        Ok(Self { text })
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = MemmapEntry> + 'a {
        self.text.split(',').filter_map(|entry| parse_entry(entry).ok())
    }
}

fn parse_entry(text: &str) -> Result<MemmapEntry, Problem> {
    if text == "exactmap" {
        return Ok(MemmapEntry::Exact);
    }
    let (size, rest) = memparse(text).ok_or(Problem::Malformed)?;
    let kind = match rest.bytes().next() {
        Some(b'@') => MemmapType::Ram,
        Some(b'$') => MemmapType::Reserved,
        Some(b'#') => MemmapType::Acpi,
        _ => return Err(Problem::Malformed),
    };
    let Some((start, "")) = rest.get(1..).and_then(memparse) else { return Err(Problem::Malformed) };
    if size == 0 {
        return Err(Problem::TooSmall);
    }
    start.checked_add(size).ok_or(Problem::TooLarge)?;
    if !start.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
        return Err(Problem::Misaligned);
    }
    Ok(MemmapEntry::Range { start, size, kind })
}
