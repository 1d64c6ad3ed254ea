//! The memory map a guest boots with, in the terms of the BIOS call e820.
//!
//! Owns: which guest-physical ranges are usable and which firmware keeps.
//! Stays outside: the RAM layout (`memory::layout`), handing the map over (`boot::pvh`).
//! Invariants: entries are sorted and disjoint; usable entries cover all RAM but the legacy range
//! from the EBDA to 1 MiB, where the ACPI tables lie.

use std::fmt;

use shared::layout::{EBDA, EXTENDED_RAM_START};

use crate::memory::RamRange;

/// What a range of the map is for; the numbers are those of e820.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum E820Kind {
    /// Free for the guest.
    Usable = 1,
    /// Kept by firmware.
    Reserved = 2,
}

/// One entry of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct E820Entry {
    /// First guest-physical byte.
    pub base: u64,
    /// Length in bytes.
    pub size: u64,
    /// What the range is for.
    pub kind: E820Kind,
}

/// One line as `/proc/iomem` of Linux shows the range.
impl fmt::Display for E820Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            E820Kind::Usable => "System RAM",
            E820Kind::Reserved => "Reserved",
        };
        write!(f, "{:08x}-{:08x} : {name}", self.base, self.base + self.size - 1)
    }
}

/// The map for the RAM in `ram` (sorted, as `memory::layout` gives it).
pub fn e820_map(ram: &[RamRange]) -> Vec<E820Entry> {
    let usable = |base, size| E820Entry { base, size, kind: E820Kind::Usable };
    let mut map = vec![
        usable(0, EBDA),
        E820Entry { base: EBDA, size: EXTENDED_RAM_START - EBDA, kind: E820Kind::Reserved },
    ];
    for range in ram {
        let base = range.base.max(EXTENDED_RAM_START);
        let size = range.end().saturating_sub(base);
        // The map does not show nodes: neighbours become one entry.
        match map.last_mut() {
            Some(last) if last.kind == E820Kind::Usable && last.base + last.size == base => last.size += size,
            _ => map.push(usable(base, size)),
        }
    }
    map
}

#[cfg(test)]
mod tests;
