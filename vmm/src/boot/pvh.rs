//! The PVH start info, the memory map and the module list.
//!
//! Source: Xen `docs/misc/pvh.pandoc` and `xen/include/public/arch-x86/hvm/start_info.h`.

use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use shared::layout::{ACPI_TABLES, PVH_CMDLINE, PVH_MEMMAP, PVH_MEMMAP_SIZE, PVH_START_INFO};
use shared::text::e820::E820Entry;
use vm_memory::GuestAddress;

use super::{BootDataError, EntryState};
use crate::loader::Loaded;
use crate::memory::GuestRam;

/// `XEN_HVM_START_MAGIC_VALUE`.
const START_MAGIC: u32 = 0x336e_c578;
/// Version 1 has the memory map.
const START_VERSION: u32 = 1;
/// The module list lies in the page of the start info, which is far smaller.
const MODULES: u64 = PVH_START_INFO + 0x800;

/// Writes the structures for the kernel in `loaded`.
pub(super) fn write(ram: &GuestRam, loaded: &Loaded, map: &[E820Entry]) -> Result<EntryState, BootDataError> {
    let entries: Vec<_> = map
        .iter()
        .map(|e| hvm_memmap_table_entry { addr: e.start, size: e.size, type_: e.kind as u32, reserved: 0 })
        .collect();
    if size_of_val(entries.as_slice()) > PVH_MEMMAP_SIZE as usize {
        return Err(BootDataError::MemmapTooLong(entries.len()));
    }
    let mut start_info = hvm_start_info {
        magic: START_MAGIC,
        version: START_VERSION,
        cmdline_paddr: PVH_CMDLINE,
        rsdp_paddr: ACPI_TABLES,
        memmap_paddr: PVH_MEMMAP,
        memmap_entries: entries.len() as u32,
        ..Default::default()
    };
    let module = loaded.initrd.as_ref().map(|initrd| hvm_modlist_entry {
        paddr: initrd.start,
        size: initrd.end - initrd.start,
        ..Default::default()
    });
    if module.is_some() {
        (start_info.modlist_paddr, start_info.nr_modules) = (MODULES, 1);
    }
    let mut params = BootParams::new(&start_info, GuestAddress(PVH_START_INFO));
    params.set_sections(&entries, GuestAddress(PVH_MEMMAP));
    if let Some(module) = module {
        params.set_modules(&[module], GuestAddress(MODULES));
    }
    PvhBootConfigurator::write_bootparams(&params, ram).map_err(BootDataError::Structure)?;
    Ok(EntryState { rip: loaded.entry, rbx: PVH_START_INFO, rsi: 0 })
}
