//! SRAT: the node of each CPU and of each memory range. Source: ACPI 6.4, section 5.2.16.
//!
//! Owns: what a row means. Stays outside: turning proximity domains into nodes ([`super::numa`]).

use super::PhysRead;
use super::error::AcpiError;
use super::table::{HEADER_BYTES, Row, Table};

/// Twelve reserved bytes follow the header.
const ROWS_OFFSET: u32 = HEADER_BYTES + 12;

const LOCAL_APIC: u8 = 0;
const MEMORY: u8 = 1;
const LOCAL_X2APIC: u8 = 2;

const ENABLED: u32 = 1;
const HOT_PLUGGABLE: u32 = 1 << 1;
const NON_VOLATILE: u32 = 1 << 2;

/// First revision whose domains have 32 bits; before, only the low byte counts.
const WIDE_DOMAINS: u8 = 2;

/// What a row puts into a proximity domain.
pub(super) enum Affinity {
    /// The CPU with this APIC id.
    Cpu { apic_id: u32 },
    /// A range of physical memory.
    Memory { base: u64, size: u64, hot_pluggable: bool, non_volatile: bool },
}

/// What a row says.
pub(super) enum Entry {
    /// Something is in a proximity domain.
    Member { domain: u32, affinity: Affinity },
    /// Nothing of interest, or switched off.
    Nothing,
    /// Nonsense.
    Bad,
}

/// The entries of the table, in its order.
pub(super) fn entries<'t, M: PhysRead>(
    table: &'t Table<'_, M>,
) -> Result<impl Iterator<Item = Result<Entry, AcpiError>> + 't, AcpiError> {
    let domain_mask = if table.revision()? < WIDE_DOMAINS { 0xff } else { u32::MAX };
    Ok(table.rows(ROWS_OFFSET).map(move |row| Ok(entry(&row?, domain_mask).unwrap_or(Entry::Bad))))
}

/// `None` when the row is too short for its type.
fn entry(row: &Row, domain_mask: u32) -> Option<Entry> {
    let (flags, domain, affinity) = match row.kind {
        LOCAL_APIC => {
            let domain = u32::from_le_bytes([row.u8(2)?, row.u8(9)?, row.u8(10)?, row.u8(11)?]);
            (row.u32(4)?, domain, Affinity::Cpu { apic_id: row.u8(3)?.into() })
        }
        LOCAL_X2APIC => (row.u32(12)?, row.u32(4)?, Affinity::Cpu { apic_id: row.u32(8)? }),
        MEMORY => {
            let flags = row.u32(28)?;
            let affinity = Affinity::Memory {
                base: row.u64(8)?,
                size: row.u64(16)?,
                hot_pluggable: flags & HOT_PLUGGABLE != 0,
                non_volatile: flags & NON_VOLATILE != 0,
            };
            (flags, row.u32(2)?, affinity)
        }
        // Interrupt translation services and devices are nothing to us.
        _ => return Some(Entry::Nothing),
    };
    if flags & ENABLED == 0 {
        return Some(Entry::Nothing);
    }
    if let Affinity::Memory { base, size, .. } = affinity {
        base.checked_add(size)?;
        if size == 0 {
            return Some(Entry::Nothing);
        }
    }
    Some(Entry::Member { domain: domain & domain_mask, affinity })
}
