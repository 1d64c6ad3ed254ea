//! Puts a kernel into guest RAM and finds its PVH entry.
//!
//! Owns: which images are accepted, and telling a Ballast guest from other kernels by its ELF note.
//! Stays outside: what the kernel is told (`boot`).

use std::io::{Cursor, Read, Seek};

use linux_loader::loader::elf::{Elf, PvhBootCapability};
use linux_loader::loader::{Error as LoaderError, KernelLoader};
use vm_memory::ReadVolatile;

use crate::memory::GuestRam;

/// First bytes of every ELF file.
const ELF_MAGIC: &[u8] = b"\x7fELF";
/// Where a bzImage has the mark of its setup header, and the mark.
const BZIMAGE_MARK: (usize, &[u8]) = (0x202, b"HdrS");

/// Why a kernel cannot be booted.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The image is a bzImage.
    #[error("{0} is a bzImage; give the ELF file it was made from (vmlinux)")]
    BzImage(String),
    /// The image is nothing that could be a kernel.
    #[error("{0} is not an ELF file; give an ELF kernel with a PVH note")]
    NotElf(String),
    /// The ELF file cannot be entered the PVH way.
    #[error("{0} has no PVH note; for Linux, build it with CONFIG_PVH=y")]
    NoPvh(String),
    /// A segment does not fit, or the file is damaged.
    #[error("cannot load {name}: its segments do not fit into guest RAM or the file is damaged")]
    Load {
        /// The image.
        name: String,
        /// What the loader said.
        source: LoaderError,
    },
}

/// Loads the ELF image `bytes`, called `name` in errors. Returns the guest-physical PVH entry.
pub fn load(ram: &GuestRam, name: &str, bytes: &[u8]) -> Result<u64, LoadError> {
    if !bytes.starts_with(ELF_MAGIC) {
        let is_bzimage = bytes.get(BZIMAGE_MARK.0..).is_some_and(|rest| rest.starts_with(BZIMAGE_MARK.1));
        let name = name.to_owned();
        return Err(if is_bzimage { LoadError::BzImage(name) } else { LoadError::NotElf(name) });
    }
    load_elf(ram, name, Cursor::new(bytes))
}

fn load_elf<F>(ram: &GuestRam, name: &str, mut image: F) -> Result<u64, LoadError>
where
    F: Read + ReadVolatile + Seek,
{
    let loaded = Elf::load(ram, None, &mut image, None)
        .map_err(|source| LoadError::Load { name: name.to_owned(), source })?;
    match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(entry) => Ok(entry.0),
        PvhBootCapability::PvhEntryNotPresent | PvhBootCapability::PvhEntryIgnored => {
            Err(LoadError::NoPvh(name.to_owned()))
        }
    }
}
