//! The boot parameters of a Linux bzImage, its "zero page".
//!
//! Source: Linux `Documentation/arch/x86/boot.rst`, the 32-bit boot protocol, and `zero-page.rst`.

use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use shared::layout::{ACPI_TABLES, PVH_CMDLINE, PVH_START_INFO};
use shared::text::e820::E820Entry;
use vm_memory::GuestAddress;

use super::{BootDataError, EntryState};
use crate::loader::Loaded;
use crate::memory::GuestRam;

/// Its page; only one protocol is in use.
const ZERO_PAGE: u64 = PVH_START_INFO;
/// "Undefined": a boot loader without a number of its own.
const TYPE_OF_LOADER: u8 = 0xff;

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
    Ok(EntryState { rip: loaded.entry, rbx: 0, rsi: ZERO_PAGE })
}
