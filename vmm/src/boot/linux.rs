//! The boot parameters of a Linux bzImage, its "zero page", and the bit of firmware that it uses.
//!
//! Source: Linux `Documentation/arch/x86/boot.rst`, the 32-bit boot protocol, and `zero-page.rst`.

use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use shared::layout::{ACPI_TABLES, BIOS_ENTRY, I8042_PORT, I8042_RESET, PVH_CMDLINE, PVH_START_INFO};
use shared::text::e820::E820Entry;
use vm_memory::{Bytes, GuestAddress};

use super::{BootDataError, EntryState};
use crate::loader::Loaded;
use crate::memory::GuestRam;

/// Its page; only one protocol is in use.
const ZERO_PAGE: u64 = PVH_START_INFO;
/// "Undefined": a boot loader without a number of its own.
const TYPE_OF_LOADER: u8 = 0xff;

/// What lies at [`BIOS_ENTRY`], a reset by the keyboard controller: `mov al, I8042_RESET`, `out I8042_PORT, al`, `hlt`, and
/// a jump back to that. Where ACPI is hardware-reduced, Linux takes EFI's reset and, without EFI, the one of the BIOS; the
/// reset register of ACPI does not come to its mind.
const RESET: [u8; 7] = [0xb0, I8042_RESET, 0xe6, I8042_PORT as u8, 0xf4, 0xeb, 0xfd];

/// Writes the parameters for the kernel in `loaded`, whose own header is `header`.
pub(super) fn write(
    ram: &GuestRam,
    loaded: &Loaded,
    header: &setup_header,
    map: &[E820Entry],
) -> Result<EntryState, BootDataError> {
    let mut params = boot_params { hdr: *header, acpi_rsdp_addr: ACPI_TABLES, ..Default::default() };
    params.hdr.type_of_loader = TYPE_OF_LOADER;
    params.hdr.cmd_line_ptr = PVH_CMDLINE as u32;
    if let Some(initrd) = &loaded.initrd {
        // Below 4 GiB, because the loader keeps to the kernel's limit, which has 32 bits.
        params.hdr.ramdisk_image = initrd.start as u32;
        params.hdr.ramdisk_size = (initrd.end - initrd.start) as u32;
    }
    let mut table = params.e820_table;
    if map.len() > table.len() {
        return Err(BootDataError::MemmapTooLong(map.len()));
    }
    for (slot, e) in table.iter_mut().zip(map) {
        *slot = boot_e820_entry { addr: e.start, size: e.size, r#type: e.kind as u32 };
    }
    params.e820_table = table;
    params.e820_entries = map.len() as u8;
    let params = BootParams::new(&params, GuestAddress(ZERO_PAGE));
    LinuxBootConfigurator::write_bootparams(&params, ram).map_err(BootDataError::Structure)?;
    ram.write_slice(&RESET, GuestAddress(BIOS_ENTRY)).map_err(BootDataError::Write)?;
    Ok(EntryState { rip: loaded.entry, rbx: 0, rsi: ZERO_PAGE })
}
