//! Puts a kernel into guest RAM.
//!
//! Stays outside: which images are kernels (`kernel`), what the kernel is told (`boot`).

use std::io::Cursor;

use linux_loader::loader::KernelLoader;
use linux_loader::loader::elf::Elf;

use crate::kernel::Kernel;
use crate::memory::GuestRam;

/// The kernel is not where RAM is.
#[derive(Debug, thiserror::Error)]
#[error("cannot load {name}: {reason}; its segments must fit into guest RAM, so try a larger --mem")]
pub struct LoadError {
    name: String,
    reason: linux_loader::loader::Error,
}

/// Copies the segments of `kernel` to their physical addresses. What the file does not have of a segment
/// stays zero, as guest RAM is at first.
pub fn load(ram: &GuestRam, kernel: &Kernel) -> Result<(), LoadError> {
    match Elf::load(ram, None, &mut Cursor::new(kernel.bytes()), None) {
        Ok(_) => Ok(()),
        Err(reason) => Err(LoadError { name: kernel.name().to_owned(), reason }),
    }
}
