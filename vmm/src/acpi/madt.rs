//! MADT: one local APIC per vCPU and the I/O APIC.
//!
//! Source: ACPI specification 6.4, section 5.2.12.

use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use shared::layout::{IOAPIC, LAPIC};

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::config::apic::ApicPlace;

/// The table for vCPUs with these places.
pub(super) fn table(cpus: &[ApicPlace]) -> MADT {
    let controller = LocalInterruptController::Address(LAPIC as u32);
    let mut madt = MADT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, controller);
    for (uid, cpu) in (0..).zip(cpus) {
        madt.add_structure(ProcessorLocalApic::new(uid, cpu.id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, IOAPIC as u32, 0));
    madt
}
