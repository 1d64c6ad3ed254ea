//! The ACPI tables: how a guest learns of CPUs, NUMA nodes, distances and devices.
//!
//! Owns: where each table lies and how the tables point at each other (RSDP → XSDT → FADT → DSDT,
//! MADT, SRAT, SLIT).
//! Stays outside: writing the bytes into guest RAM (`boot`), the topology (`config::topology`).
//! Invariants: the RSDP is first; every table is 16-byte aligned and its checksum is right; the whole
//! fits between `ACPI_TABLES` and `ACPI_TABLES_END`. Source: ACPI specification 6.4, chapter 5.

mod dsdt;
mod fadt;
mod madt;
mod slit;
mod srat;

use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use shared::layout::{ACPI_TABLES, ACPI_TABLES_END};

use crate::config::{Topology, apic};
use crate::devices::VirtioSlot;
use crate::memory::RamRange;

/// OEM id of every table.
const OEM_ID: [u8; 6] = *b"BALLST";
/// OEM table id of every table.
const OEM_TABLE_ID: [u8; 8] = *b"BALLAST ";
/// OEM revision of every table.
const OEM_REVISION: u32 = 1;
/// Alignment of each table in bytes.
const TABLE_ALIGNMENT: usize = 16;

/// Why the tables could not be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AcpiError {
    /// The tables outgrow the room the memory map keeps for them.
    #[error("ACPI tables take {size} bytes, {room} are reserved; use fewer vCPUs or NUMA nodes")]
    TooLarge {
        /// Bytes of all tables.
        size: usize,
        /// Bytes reserved.
        room: usize,
    },
}

/// All tables as one block of bytes that belongs at guest-physical `ACPI_TABLES`.
pub fn build(topology: &Topology, ram: &[RamRange], devices: &[VirtioSlot]) -> Result<Vec<u8>, AcpiError> {
    let places = apic::places(topology);
    let mut block = Block { bytes: vec![0; Rsdp::len()] };
    let dsdt = block.add(dsdt::table(topology.cpu_count(), devices).as_slice());
    let fadt = block.add(&serialise(&fadt::table(dsdt)));
    let madt = block.add(&serialise(&madt::table(&places)));
    let srat = block.add(srat::table(topology, &places, ram).as_slice());
    let slit = block.add(&serialise(&slit::table(topology)));
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    for table in [fadt, madt, srat, slit] {
        xsdt.add_entry(table);
    }
    let xsdt = block.add(&serialise(&xsdt));
    let rsdp = serialise(&Rsdp::new(OEM_ID, xsdt));
    let mut bytes = rsdp;
    bytes.extend_from_slice(block.bytes.get(bytes.len()..).unwrap_or_default());
    let room = (ACPI_TABLES_END - ACPI_TABLES) as usize;
    if bytes.len() > room {
        return Err(AcpiError::TooLarge { size: bytes.len(), room });
    }
    Ok(bytes)
}

/// Tables laid out one after the other from `ACPI_TABLES`.
struct Block {
    bytes: Vec<u8>,
}

impl Block {
    /// Appends a table and returns its guest-physical address.
    fn add(&mut self, table: &[u8]) -> u64 {
        let start = self.bytes.len().next_multiple_of(TABLE_ALIGNMENT);
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(table);
        ACPI_TABLES + start as u64
    }
}

fn serialise(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
