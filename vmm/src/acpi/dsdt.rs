//! DSDT: the vCPUs, the serial port and the virtio-mmio devices by name, so that Linux finds them and their
//! interrupts, and how to switch off.
//!
//! Source: ACPI specification 6.4, section 5.2.11.1; `LNRO0005` is the id the Linux driver
//! `virtio-mmio` binds to.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, ResourceTemplate, ZERO,
};
use acpi_tables::sdt::Sdt;
use shared::layout::{ACPI_SLEEP_OFF, COM1_PORT, VIRTIO_MMIO_SIZE};

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::devices::VirtioSlot;
use crate::devices::serial::{SERIAL_GSI, SERIAL_PORTS};

const HEADER_SIZE: u32 = 36;
/// Revision 2: integers are 64 bits wide.
const REVISION: u8 = 2;

/// The table for vCPUs `0..cpus` and the given devices.
pub(super) fn table(cpus: u8, devices: &[VirtioSlot]) -> Sdt {
    let mut aml = Vec::new();
    for cpu in 0..cpus {
        Device::new(
            format!("_SB_.C{cpu:03X}").as_str().into(),
            vec![&Name::new("_HID".into(), &"ACPI0007"), &Name::new("_UID".into(), &cpu)],
        )
        .to_aml_bytes(&mut aml);
    }
    let ports = IO::new(COM1_PORT, COM1_PORT, 1, SERIAL_PORTS as u8);
    let interrupt = Interrupt::new(true, true, false, false, SERIAL_GSI);
    Device::new(
        "_SB_.COM1".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0501")),
            &Name::new("_UID".into(), &ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &interrupt])),
        ],
    )
    .to_aml_bytes(&mut aml);
    for (index, slot) in (0_u8..).zip(devices) {
        let window = Memory32Fixed::new(true, slot.base as u32, VIRTIO_MMIO_SIZE as u32);
        let interrupt = Interrupt::new(true, true, false, false, slot.gsi);
        Device::new(
            format!("_SB_.V{index:03X}").as_str().into(),
            vec![
                &Name::new("_HID".into(), &"LNRO0005"),
                &Name::new("_UID".into(), &index),
                &Name::new("_CCA".into(), &1_u8),
                &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&window, &interrupt])),
            ],
        )
        .to_aml_bytes(&mut aml);
    }
    let off = Package::new(vec![&ACPI_SLEEP_OFF, &0_u8, &0_u8, &0_u8]);
    Name::new("_S5_".into(), &off).to_aml_bytes(&mut aml);
    let mut dsdt = Sdt::new(*b"DSDT", HEADER_SIZE, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    dsdt.append_slice(&aml);
    dsdt
}
