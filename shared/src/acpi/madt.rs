//! MADT: the machine's CPUs and interrupt controllers. Source: ACPI 6.4, section 5.2.12.

use super::error::AcpiError;
use super::list::List;
use super::table::{HEADER_BYTES, Row, Table};
use super::{MAX_CPUS, MAX_IO_APICS, MAX_OVERRIDES, PhysRead};

/// Physical address of the local APICs, then flags.
const ROWS_OFFSET: u32 = HEADER_BYTES + 8;

const LOCAL_APIC: u8 = 0;
const IO_APIC: u8 = 1;
const OVERRIDE: u8 = 2;
const LOCAL_APIC_ADDRESS: u8 = 5;
const LOCAL_X2APIC: u8 = 9;

const ENABLED: u32 = 1;
/// An APIC id that means every CPU, so no single one can have it.
const BROADCAST: u32 = 0xff;
const X2APIC_BROADCAST: u32 = u32::MAX;

/// One usable CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalApic {
    /// Id of its local APIC (an x2APIC id where that is wider than 8 bits).
    pub apic_id: u32,
    /// Id that other tables and AML know the CPU by.
    pub acpi_uid: u32,
}

/// One I/O APIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoApic {
    /// Its id.
    pub id: u8,
    /// Physical address of its registers.
    pub address: u64,
    /// Global system interrupt of its first pin.
    pub gsi_base: u32,
}

/// An ISA interrupt that is not wired to the pin of its own number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// ISA interrupt.
    pub source: u8,
    /// Global system interrupt that it arrives as.
    pub gsi: u32,
    /// MPS INTI flags: bits 0 and 1 polarity, bits 2 and 3 trigger mode; 0 is as the bus has it.
    pub flags: u16,
}

/// What the table says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Madt {
    /// CPUs that can be started, in the table's order; no two have one APIC id.
    pub cpus: List<LocalApic, MAX_CPUS>,
    /// I/O APICs.
    pub io_apics: List<IoApic, MAX_IO_APICS>,
    /// Redirected ISA interrupts.
    pub overrides: List<Override, MAX_OVERRIDES>,
    /// Physical address of the local APICs.
    pub local_apic_address: u64,
    /// CPUs that the firmware has disabled.
    pub disabled_cpus: u32,
    /// Usable CPUs that the list has no room for.
    pub excess_cpus: u32,
    /// Other rows that made no sense or that a list has no room for.
    pub skipped_rows: u32,
}

/// What became of a row.
enum Outcome {
    Used,
    Skipped,
}

impl Madt {
    pub(super) fn read<M: PhysRead>(table: &Table<'_, M>) -> Result<Self, AcpiError> {
        let local_apic = u32::from_le_bytes(table.bytes(HEADER_BYTES)?);
        let mut madt = Self { local_apic_address: local_apic.into(), ..Self::default() };
        for row in table.rows(ROWS_OFFSET) {
            match madt.take(&row?) {
                Some(Outcome::Used) => {}
                Some(Outcome::Skipped) | None => madt.skipped_rows += 1,
            }
        }
        Ok(madt)
    }

    /// Takes in one row; `None` when it is too short for its type.
    fn take(&mut self, row: &Row) -> Option<Outcome> {
        match row.kind {
            LOCAL_APIC => {
                let cpu = LocalApic { acpi_uid: row.u8(2)?.into(), apic_id: row.u8(3)?.into() };
                Some(self.take_cpu(cpu, row.u32(4)?, BROADCAST))
            }
            LOCAL_X2APIC => {
                let cpu = LocalApic { apic_id: row.u32(4)?, acpi_uid: row.u32(12)? };
                Some(self.take_cpu(cpu, row.u32(8)?, X2APIC_BROADCAST))
            }
            IO_APIC => {
                let apic = IoApic { id: row.u8(2)?, address: row.u32(4)?.into(), gsi_base: row.u32(8)? };
                Some(kept(self.io_apics.push(apic)))
            }
            OVERRIDE => {
                let entry = Override { source: row.u8(3)?, gsi: row.u32(4)?, flags: row.u16(8)? };
                Some(kept(self.overrides.push(entry)))
            }
            LOCAL_APIC_ADDRESS => {
                self.local_apic_address = row.u64(4)?;
                Some(Outcome::Used)
            }
            // NMI wiring and controllers of other architectures are nothing to us.
            _ => Some(Outcome::Used),
        }
    }

    fn take_cpu(&mut self, cpu: LocalApic, flags: u32, broadcast: u32) -> Outcome {
        if flags & ENABLED == 0 {
            self.disabled_cpus += 1;
            return Outcome::Used;
        }
        // Firmware may list a CPU both as local APIC and as x2APIC.
        if cpu.apic_id == broadcast || self.cpus.iter().any(|known| known.apic_id == cpu.apic_id) {
            return Outcome::Skipped;
        }
        if !self.cpus.push(cpu) {
            self.excess_cpus += 1;
        }
        Outcome::Used
    }
}

fn kept(fitted: bool) -> Outcome {
    if fitted { Outcome::Used } else { Outcome::Skipped }
}
