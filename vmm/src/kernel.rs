//! The kernel image a machine boots: the guest that is built in, or a file.
//!
//! Owns: reading the file, what makes an image bootable, and telling a Ballast guest from other kernels.
//! Stays outside: loading it into RAM (`loader`, `tcg`).
//! Invariants: a [`Kernel`] is an ELF file with a PVH entry whose segments all lie in the file.

mod elf;

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

use shared::stats::NOTE_NAME;

/// The guest, built by the build script.
static BUILT_IN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.elf"));

/// Owner and number of the note with the PVH entry, `XEN_ELFNOTE_PHYS32_ENTRY`.
const PVH_NOTE: (&str, u32) = ("Xen", 18);
/// Where a bzImage has the mark of its setup header, and the mark.
const BZIMAGE_MARK: (usize, &[u8]) = (0x202, b"HdrS");

/// Why an image cannot be booted; each text is a complete line.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The file cannot be read.
    #[error("cannot read kernel {name}: {reason}; check the path of --kernel")]
    Read {
        /// The file.
        name: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The image is a bzImage.
    #[error("{0} is a bzImage; give the ELF file it was made from (vmlinux)")]
    BzImage(String),
    /// The image is nothing that could be a kernel.
    #[error("{0} is not an ELF file; give an ELF kernel with a PVH note")]
    NotElf(String),
    /// A segment lies outside the file.
    #[error("{0} is damaged: a segment lies outside the file; copy or build it again")]
    Damaged(String),
    /// The ELF file cannot be entered the PVH way.
    #[error("{0} has no PVH note; for Linux, build it with CONFIG_PVH=y")]
    NoPvh(String),
}

/// A kernel image.
#[derive(Debug)]
pub struct Kernel {
    name: String,
    bytes: Cow<'static, [u8]>,
    entry: u64,
}

impl Kernel {
    /// The kernel at `path`, or the one that is built in.
    pub fn open(path: Option<&Path>) -> Result<Self, KernelError> {
        let Some(path) = path else {
            return Self::new(String::from("the built-in guest"), Cow::Borrowed(BUILT_IN));
        };
        let name = path.display().to_string();
        match fs::read(path) {
            Ok(bytes) => Self::from_bytes(name, bytes),
            Err(reason) => Err(KernelError::Read { name, reason }),
        }
    }

    /// The kernel in `bytes`, called `name` in messages.
    pub fn from_bytes(name: String, bytes: Vec<u8>) -> Result<Self, KernelError> {
        Self::new(name, Cow::Owned(bytes))
    }

    fn new(name: String, bytes: Cow<'static, [u8]>) -> Result<Self, KernelError> {
        if !bytes.starts_with(elf::MAGIC) {
            let (at, mark) = BZIMAGE_MARK;
            let is_bzimage = bytes.get(at..).is_some_and(|rest| rest.starts_with(mark));
            return Err(if is_bzimage { KernelError::BzImage(name) } else { KernelError::NotElf(name) });
        }
        if elf::segments(&bytes, elf::PT_LOAD).any(|segment| segment.is_none()) {
            return Err(KernelError::Damaged(name));
        }
        let (owner, kind) = PVH_NOTE;
        let notes = elf::notes_of(&bytes, owner);
        let entry =
            notes.iter().find(|note| note.kind == kind).and_then(|note| note.descriptor.first_chunk());
        match entry.map(|entry| u32::from_le_bytes(*entry).into()) {
            Some(entry) => Ok(Self { name, bytes, entry }),
            None => Err(KernelError::NoPvh(name)),
        }
    }

    /// What to call the image in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The image.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Guest-physical address of the PVH entry.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Whether the image is a Ballast guest, whose parameters the host knows.
    pub fn is_ballast(&self) -> bool {
        !elf::notes_of(&self.bytes, NOTE_NAME).is_empty()
    }
}

#[cfg(test)]
mod tests;
