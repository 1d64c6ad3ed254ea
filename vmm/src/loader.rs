//! Puts a kernel and its initial RAM disk into guest RAM.
//!
//! Stays outside: which images are kernels (`kernel`), what the kernel is told (`boot`).
//! Invariant: kernel, the room it unpacks into, and RAM disk do not overlap.

use std::io::Cursor;
use std::ops::Range;

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::bzimage::BzImage;
use linux_loader::loader::elf::Elf;
use linux_loader::loader::{KernelLoader, KernelLoaderResult};
use shared::layout::{EXTENDED_RAM_START, HIGH_RAM_START, PAGE_SIZE};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::kernel::{Kernel, Protocol};
use crate::memory::GuestRam;

/// Kernel or RAM disk is not where RAM is.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel does not fit.
    #[error("cannot load {name}: {reason}; its segments must fit into guest RAM, so try a larger --mem")]
    Kernel {
        /// The image.
        name: String,
        /// What the loader said.
        reason: linux_loader::loader::Error,
    },
    /// The RAM disk does not fit beside the kernel.
    #[error(
        "the initial RAM disk of {0} bytes does not fit into guest RAM beside the kernel; try a larger --mem"
    )]
    Initrd(u64),
}

/// What the boot protocol wants to know of a kernel beside where it is.
pub enum Header {
    /// Nothing.
    Pvh,
    /// The bzImage's own header, which goes back to it.
    Linux(Box<setup_header>),
}

/// A kernel in guest RAM.
pub struct Loaded {
    /// Guest-physical address of its first instruction.
    pub entry: u64,
    /// What its protocol needs.
    pub header: Header,
    /// Where its RAM disk lies, if it has one.
    pub initrd: Option<Range<u64>>,
}

/// Copies `kernel` and its RAM disk to their places. What the file does not have of a segment stays zero, as guest
/// RAM is at first.
pub fn load(ram: &GuestRam, kernel: &Kernel) -> Result<Loaded, LoadError> {
    let failed = |reason| LoadError::Kernel { name: kernel.name().to_owned(), reason };
    let mut image = Cursor::new(kernel.bytes());
    let (entry, header, room, limit) = match kernel.protocol() {
        Protocol::Pvh(entry) => {
            let result = Elf::load(ram, None, &mut image, None).map_err(failed)?;
            (entry, Header::Pvh, result.kernel_end, HIGH_RAM_START)
        }
        Protocol::Linux => {
            let place = GuestAddress(EXTENDED_RAM_START);
            let result = BzImage::load(ram, Some(place), &mut image, Some(place)).map_err(failed)?;
            let header = result.setup_header.unwrap_or_default();
            // The limit is the last byte that the RAM disk may take.
            let limit = u64::from(header.initrd_addr_max) + 1;
            (place.0, Header::Linux(Box::new(header)), unpacked_end(&result, &header), limit)
        }
    };
    let initrd = kernel.initrd().map(|bytes| place_initrd(ram, bytes, room..limit)).transpose()?;
    Ok(Loaded { entry, header, initrd })
}

/// The end of what a bzImage needs while it unpacks itself.
fn unpacked_end(result: &KernelLoaderResult, header: &setup_header) -> u64 {
    let start = header.pref_address.max(result.kernel_load.0);
    result.kernel_end.max(start.saturating_add(header.init_size.into()))
}

/// Copies the RAM disk as high as `bounds` and the RAM below 4 GiB allow, at the start of a page.
fn place_initrd(ram: &GuestRam, bytes: &[u8], bounds: Range<u64>) -> Result<Range<u64>, LoadError> {
    let size = bytes.len() as u64;
    let ends = ram.iter().map(|region| region.start_addr().0 + region.len());
    let highest = ends.filter(|&end| end <= HIGH_RAM_START).max().unwrap_or(0).min(bounds.end);
    let start = highest.checked_sub(size).map(|start| start / PAGE_SIZE * PAGE_SIZE);
    let start = start.filter(|&start| start >= bounds.start).ok_or(LoadError::Initrd(size))?;
    ram.write_slice(bytes, GuestAddress(start)).map_err(|_| LoadError::Initrd(size))?;
    Ok(start..start + size)
}

#[cfg(test)]
mod tests;
