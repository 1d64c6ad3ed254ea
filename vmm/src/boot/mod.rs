//! What a guest finds in memory when it starts: start info, memory map, command line, ACPI tables.
//!
//! Owns: writing the boot structures below 1 MiB, those that every protocol needs here.
//! Stays outside: the kernel image and the initial RAM disk (`loader`), the entry registers (`kvm::regs`).

pub mod cmdline;
pub mod e820;
mod linux;
mod pvh;

use linux_loader::configurator::Error as ConfiguratorError;
use shared::layout::{ACPI_TABLES, PVH_CMDLINE, PVH_CMDLINE_SIZE};
use shared::text::e820::E820Entry;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::loader::{Header, Loaded};
use crate::memory::GuestRam;

/// Why the boot structures could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BootDataError {
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
    /// The structure does not fit guest RAM.
    #[error("cannot write boot data")]
    Structure(#[source] ConfiguratorError),
    /// Text or tables do not fit guest RAM.
    #[error("cannot write boot data")]
    Write(#[source] GuestMemoryError),
}

/// What the boot structures tell.
pub struct BootData<'a> {
    /// The whole command line.
    pub cmdline: &'a str,
    /// The memory map.
    pub map: &'a [E820Entry],
    /// The ACPI tables, to lie at `ACPI_TABLES`.
    pub acpi: &'a [u8],
}

/// The state in which the boot processor starts: 32-bit protected mode, paging off, flat segments, and these
/// registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryState {
    /// First instruction.
    pub rip: u64,
    /// Where PVH has its start info; 0 elsewhere.
    pub rbx: u64,
    /// Where Linux's protocol has its parameters; 0 elsewhere.
    pub rsi: u64,
}

/// Writes what the kernel in `loaded` needs into `ram`, and returns how to enter it.
pub fn write(ram: &GuestRam, loaded: &Loaded, data: &BootData<'_>) -> Result<EntryState, BootDataError> {
    let size = data.cmdline.len() + 1;
    let room = PVH_CMDLINE_SIZE as usize;
    if size > room {
        return Err(BootDataError::CmdlineTooLong { size, room });
    }
    ram.write_slice(data.cmdline.as_bytes(), GuestAddress(PVH_CMDLINE)).map_err(BootDataError::Write)?;
    ram.write_obj(0_u8, GuestAddress(PVH_CMDLINE + data.cmdline.len() as u64))
        .map_err(BootDataError::Write)?;
    ram.write_slice(data.acpi, GuestAddress(ACPI_TABLES)).map_err(BootDataError::Write)?;
    match &loaded.header {
        Header::Pvh => pvh::write(ram, loaded, data.map),
        Header::Linux(header) => linux::write(ram, loaded, header, data.map),
    }
}

#[cfg(test)]
mod tests;
