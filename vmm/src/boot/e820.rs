//! The memory map a guest boots with, in the terms of the BIOS call e820.
//!
//! Owns: which guest-physical ranges are usable and which firmware keeps.
//! Stays outside: the RAM layout (`memory::layout`), handing the map over (`boot::pvh`).
//! Invariants: entries are sorted and disjoint; usable entries cover all RAM but the legacy range
//! from the EBDA to 1 MiB, where the ACPI tables lie.

use shared::layout::{EBDA, EXTENDED_RAM_START};
use shared::text::e820::{E820Entry, E820Type, write_entry};

use crate::memory::RamRange;

/// The map as a guest logs it at boot, one line per entry.
pub fn text(map: &[E820Entry]) -> String {
    let mut text = String::new();
    for entry in map {
        // Writing to a string cannot fail.
        let _ = write_entry(&mut text, entry);
    }
    text
}

/// The map for the RAM in `ram` (sorted, as `memory::layout` gives it).
pub fn e820_map(ram: &[RamRange]) -> Vec<E820Entry> {
    let usable = |start, size| E820Entry { start, size, kind: E820Type::Usable };
    let mut map = vec![
        usable(0, EBDA),
        E820Entry { start: EBDA, size: EXTENDED_RAM_START - EBDA, kind: E820Type::Reserved },
    ];
    for range in ram {
        let base = range.base.max(EXTENDED_RAM_START);
        let size = range.end().saturating_sub(base);
        // The map does not show nodes: neighbours become one entry.
        match map.last_mut() {
            Some(last) if last.kind == E820Type::Usable && last.start + last.size == base => {
                last.size += size
            }
            _ => map.push(usable(base, size)),
        }
    }
    map
}

#[cfg(test)]
mod tests;
