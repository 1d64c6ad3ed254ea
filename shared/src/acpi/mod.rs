//! The ACPI tables as a guest reads them: CPUs, interrupt controllers, NUMA nodes and distances.
//!
//! Owns: the way from the root pointer (RSDP) over the XSDT or RSDT to MADT, SRAT and SLIT, and what their
//! rows mean. Stays outside: how physical memory is reached ([`PhysRead`]), what a kernel does without a
//! table, and every table that needs AML.
//! Invariants: the bytes are hostile. Every length is checked before it is used and every loop ends with
//! the table it walks. A table that cannot be trusted is an [`AcpiError`]; a row that makes no sense, or
//! that a fixed-size list has no room for, is left out and counted.
//! Source: ACPI specification 6.4, chapter 5.2; Linux `drivers/acpi/numa/srat.c` for what to do with rows
//! that contradict each other.

mod error;
mod list;
mod madt;
mod numa;
mod rsdp;
mod slit;
mod srat;
mod table;

pub use error::{AcpiError, Signature};
pub use list::List;
pub use madt::{IoApic, LocalApic, Madt, Override};
pub use numa::{CpuAffinity, MemoryAffinity, Numa};

use rsdp::Root;
use table::Table;

/// The most CPUs that are listed.
pub const MAX_CPUS: usize = 64;
/// The most NUMA nodes that are listed.
pub const MAX_NODES: usize = crate::numa::MAX_NODES;
/// The most memory ranges that are listed.
pub const MAX_MEMORY_RANGES: usize = 32;
/// The most I/O APICs that are listed.
pub const MAX_IO_APICS: usize = 4;
/// The most interrupt source overrides that are listed: one for each ISA interrupt.
pub const MAX_OVERRIDES: usize = 16;

/// Physical memory, as far as the tables are in it.
pub trait PhysRead {
    /// Fills `buf` from physical address `addr`; false, with `buf` in any state, when a byte of it cannot be
    /// read.
    fn read(&self, addr: u64, buf: &mut [u8]) -> bool;
}

/// What the tables say about the machine.
#[derive(Clone, Debug)]
pub struct Platform {
    /// CPUs and interrupt controllers.
    pub madt: Madt,
    /// NUMA nodes, or why none are known; a machine without an SRAT gives [`AcpiError::Missing`].
    pub numa: Result<Numa, AcpiError>,
}

impl Platform {
    /// Reads everything from the root pointer at physical address `rsdp`.
    ///
    /// # Errors
    /// The root, the table list or the MADT is missing or cannot be trusted. A bad SRAT or SLIT is no
    /// error of the whole: see [`Platform::numa`] and [`Numa::distance_error`].
    pub fn read(memory: &impl PhysRead, rsdp: u64) -> Result<Self, AcpiError> {
        let tables = Tables::find(memory, rsdp)?;
        let madt = Madt::read(&Table::open(memory, tables.address(Signature::MADT)?, Signature::MADT)?)?;
        let numa = tables
            .address(Signature::SRAT)
            .and_then(|address| Table::open(memory, address, Signature::SRAT))
            .and_then(|srat| {
                let slit = tables
                    .address(Signature::SLIT)
                    .and_then(|address| Table::open(memory, address, Signature::SLIT));
                Numa::read(&srat, slit)
            });
        Ok(Self { madt, numa })
    }
}

/// Where the tables of interest are.
struct Tables {
    found: [Option<u64>; Self::WANTED.len()],
}

impl Tables {
    const WANTED: [Signature; 3] = [Signature::MADT, Signature::SRAT, Signature::SLIT];

    /// Walks the XSDT, or the RSDT of a machine without one. Of two tables with one signature the first
    /// counts.
    fn find(memory: &impl PhysRead, rsdp: u64) -> Result<Self, AcpiError> {
        let root = Root::read(memory, rsdp)?;
        let list = Table::open(memory, root.address(), root.signature())?;
        let mut tables = Self { found: [None; Self::WANTED.len()] };
        for address in list.pointers(root.pointer_bytes()) {
            let mut signature = [0; 4];
            if memory.read(address, &mut signature) {
                tables.note(Signature::new(signature), address);
            }
        }
        Ok(tables)
    }

    fn note(&mut self, signature: Signature, address: u64) {
        for (slot, wanted) in self.found.iter_mut().zip(Self::WANTED) {
            if wanted == signature && slot.is_none() {
                *slot = Some(address);
            }
        }
    }

    fn address(&self, signature: Signature) -> Result<u64, AcpiError> {
        let place = Self::WANTED.iter().position(|&wanted| wanted == signature);
        place.and_then(|place| *self.found.get(place)?).ok_or(AcpiError::Missing { table: signature })
    }
}
