//! The PVH start info and everything it points to.
//!
//! Source: Xen `docs/misc/pvh.pandoc` and `xen/include/public/arch-x86/hvm/start_info.h`.

use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams, Error as ConfiguratorError};
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_start_info};
use shared::layout::{
    ACPI_TABLES, PVH_CMDLINE, PVH_CMDLINE_SIZE, PVH_MEMMAP, PVH_MEMMAP_SIZE, PVH_START_INFO,
};
use shared::text::e820::E820Entry;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::memory::GuestRam;

/// `XEN_HVM_START_MAGIC_VALUE`.
const START_MAGIC: u32 = 0x336e_c578;
/// Version 1 has the memory map.
const START_VERSION: u32 = 1;

/// Why the boot structures could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PvhError {
    /// The command line is longer than its place.
    #[error("the guest command line takes {size} bytes, at most {room} fit; shorten --append or --run")]
    CmdlineTooLong {
        /// Bytes with the final NUL.
        size: usize,
        /// Bytes there is room for.
        room: usize,
    },
    /// The memory map has more entries than fit.
    #[error("the memory map has {0} entries and does not fit its page")]
    MemmapTooLong(usize),
    /// The start info does not fit guest RAM.
    #[error("cannot write the start info")]
    StartInfo(#[source] ConfiguratorError),
    /// Text or tables do not fit guest RAM.
    #[error("cannot write boot data")]
    Write(#[source] GuestMemoryError),
}

/// Writes start info, memory map, command line and ACPI tables into `ram`.
pub fn write(ram: &GuestRam, cmdline: &str, map: &[E820Entry], acpi: &[u8]) -> Result<(), PvhError> {
    let size = cmdline.len() + 1;
    let room = PVH_CMDLINE_SIZE as usize;
    if size > room {
        return Err(PvhError::CmdlineTooLong { size, room });
    }
    let entries: Vec<_> = map
        .iter()
        .map(|e| hvm_memmap_table_entry { addr: e.start, size: e.size, type_: e.kind as u32, reserved: 0 })
        .collect();
    if size_of_val(entries.as_slice()) > PVH_MEMMAP_SIZE as usize {
        return Err(PvhError::MemmapTooLong(entries.len()));
    }
    ram.write_slice(cmdline.as_bytes(), GuestAddress(PVH_CMDLINE)).map_err(PvhError::Write)?;
    ram.write_obj(0_u8, GuestAddress(PVH_CMDLINE + cmdline.len() as u64)).map_err(PvhError::Write)?;
    ram.write_slice(acpi, GuestAddress(ACPI_TABLES)).map_err(PvhError::Write)?;
    let start_info = hvm_start_info {
        magic: START_MAGIC,
        version: START_VERSION,
        cmdline_paddr: PVH_CMDLINE,
        rsdp_paddr: ACPI_TABLES,
        memmap_paddr: PVH_MEMMAP,
        memmap_entries: entries.len() as u32,
        ..Default::default()
    };
    let mut params = BootParams::new(&start_info, GuestAddress(PVH_START_INFO));
    params.set_sections(&entries, GuestAddress(PVH_MEMMAP));
    PvhBootConfigurator::write_bootparams(&params, ram).map_err(PvhError::StartInfo)
}

#[cfg(test)]
mod tests;
