//! MADT: one local APIC per vCPU and the I/O APIC.
//!
//! Source: ACPI specification 6.4, section 5.2.12. APIC ids equal vCPU indices.

use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use shared::layout::{IOAPIC, LAPIC};

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};

/// The table for vCPUs `0..cpus`.
pub(super) fn table(cpus: u8) -> MADT {
    let controller = LocalInterruptController::Address(LAPIC as u32);
    let mut madt = MADT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, controller);
    for cpu in 0..cpus {
        madt.add_structure(ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, IOAPIC as u32, 0));
    madt
}
