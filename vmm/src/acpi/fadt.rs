//! FADT: hardware-reduced ACPI, with a reset through the i8042 port and a register for switching off.
//!
//! Source: ACPI specification 6.4, section 5.2.9.

use acpi_tables::fadt::{FADT, FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use shared::layout::{ACPI_SLEEP_PORT, I8042_PORT, I8042_RESET};

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};

/// IAPC_BOOT_ARCH bits: no VGA, no CMOS clock.
const BOOT_ARCH: u16 = 1 << 2 | 1 << 5;

/// The table that points at the DSDT at guest-physical `dsdt`.
pub(super) fn table(dsdt: u64) -> FADT {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup);
    fadt.iapc_boot_arch = BOOT_ARCH.into();
    fadt.reset_reg = GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, I8042_PORT.into());
    fadt.reset_value = I8042_RESET;
    let register = |port: u16| GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port.into());
    fadt.sleep_control_reg = register(ACPI_SLEEP_PORT);
    fadt.sleep_status_reg = register(ACPI_SLEEP_PORT + 1);
    fadt.finalize()
}
