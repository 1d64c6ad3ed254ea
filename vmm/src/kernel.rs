//! The kernel image a machine boots, the guest that is built in or a file, and its initial RAM disk.
//!
//! Owns: reading the files, what makes an image bootable, and telling a Ballast guest from other kernels.
//! Stays outside: loading it into RAM (`loader`, `tcg`).
//! Invariants: a [`Kernel`] is an ELF file with a PVH entry whose segments all lie in the file, or has the header of a
//! bzImage that can be entered in protected mode.

mod elf;

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

use shared::layout::PAGE_SIZE;
use shared::stats::{NOTE_NAME, NOTE_STATS, StatsNote};

/// The guest, built by the build script.
static BUILT_IN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.elf"));

/// Owner and number of the note with the PVH entry, `XEN_ELFNOTE_PHYS32_ENTRY`.
const PVH_NOTE: (&str, u32) = ("Xen", 18);
/// Where a bzImage has the mark of its setup header, and the mark.
const BZIMAGE_MARK: (usize, &[u8]) = (0x202, b"HdrS");
/// The first version with all that we use (2.10, Linux 2.6.31), and the least size of its real-mode part.
const BZIMAGE_VERSION: u16 = 0x20a;
const SETUP_SIZE: usize = 1024;

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
    /// The bzImage is older than the protocol or cut off.
    #[error("{0} is a damaged or very old bzImage; copy it again, or take a Linux of this century")]
    BzImage(String),
    /// The RAM disk cannot be read.
    #[error("cannot read the initial RAM disk {name}: {reason}; check the path of --initrd")]
    Initrd {
        /// The file.
        name: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The built-in guest has no use for a RAM disk.
    #[error("--initrd is for other kernels; give one with --kernel")]
    NoUseForInitrd,
    /// The image is nothing that could be a kernel.
    #[error(
        "{0} is neither an ELF file nor a bzImage; give an ELF kernel with a PVH note, or Linux's bzImage"
    )]
    NotElf(String),
    /// A segment lies outside the file, or the table of segments is none.
    #[error("{0} is damaged: its segments are not in the file; copy or build it again")]
    Damaged(String),
    /// The ELF file cannot be entered the PVH way.
    #[error("{0} has no PVH note; for Linux, build it with CONFIG_PVH=y")]
    NoPvh(String),
}

/// How a kernel is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// As PVH has it, at this guest-physical address.
    Pvh(u64),
    /// By Linux's 32-bit boot protocol: a bzImage.
    Linux,
}

/// A kernel image.
#[derive(Debug)]
pub struct Kernel {
    name: String,
    bytes: Cow<'static, [u8]>,
    protocol: Protocol,
    initrd: Option<Vec<u8>>,
}

impl Kernel {
    /// The kernel at `path`, or the one that is built in, with the RAM disk at `initrd`.
    pub fn open(path: Option<&Path>, initrd: Option<&Path>) -> Result<Self, KernelError> {
        let Some(path) = path else {
            return match initrd {
                Some(_) => Err(KernelError::NoUseForInitrd),
                None => Self::new(String::from("the built-in guest"), Cow::Borrowed(BUILT_IN)),
            };
        };
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|reason| KernelError::Read { name: name.clone(), reason })?;
        let mut kernel = Self::from_bytes(name, bytes)?;
        if let Some(initrd) = initrd {
            let failed = |reason| KernelError::Initrd { name: initrd.display().to_string(), reason };
            kernel.initrd = Some(fs::read(initrd).map_err(failed)?);
        }
        Ok(kernel)
    }

    /// The kernel in `bytes`, called `name` in messages.
    pub fn from_bytes(name: String, bytes: Vec<u8>) -> Result<Self, KernelError> {
        Self::new(name, Cow::Owned(bytes))
    }

    fn new(name: String, bytes: Cow<'static, [u8]>) -> Result<Self, KernelError> {
        if !bytes.starts_with(elf::MAGIC) {
            let (at, mark) = BZIMAGE_MARK;
            return match bytes.get(at..) {
                Some(header) if !header.starts_with(mark) => Err(KernelError::NotElf(name)),
                // The version stands behind the mark.
                Some(&[_, _, _, _, low, high, ..])
                    if u16::from_le_bytes([low, high]) >= BZIMAGE_VERSION && bytes.len() > SETUP_SIZE =>
                {
                    Ok(Self { name, bytes, protocol: Protocol::Linux, initrd: None })
                }
                Some(_) => Err(KernelError::BzImage(name)),
                None => Err(KernelError::NotElf(name)),
            };
        }
        if elf::segments(&bytes, elf::PT_LOAD).any(|segment| segment.is_none()) {
            return Err(KernelError::Damaged(name));
        }
        let (owner, kind) = PVH_NOTE;
        let notes = elf::notes_of(&bytes, owner);
        let entry =
            notes.iter().find(|note| note.kind == kind).and_then(|note| note.descriptor.first_chunk());
        match entry.map(|entry| u32::from_le_bytes(*entry).into()) {
            Some(entry) => Ok(Self { name, bytes, protocol: Protocol::Pvh(entry), initrd: None }),
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

    /// How it is entered.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Its RAM disk, if it has one.
    pub fn initrd(&self) -> Option<&[u8]> {
        self.initrd.as_deref()
    }

    /// Gives back the memory of the image: the heap, or, of the built-in guest, what of this program's file has been
    /// read. Nobody needs it any more.
    pub fn release(self) {
        if let Cow::Borrowed(image) = self.bytes {
            let range = image.as_ptr_range();
            let start = (range.start as usize).next_multiple_of(PAGE_SIZE as usize);
            let end = range.end as usize / PAGE_SIZE as usize * PAGE_SIZE as usize;
            // SAFETY: whole pages of a constant, which the host reads from the file again if anybody looks. A failure
            // changes nothing.
            unsafe { libc::madvise(start as *mut _, end.saturating_sub(start), libc::MADV_DONTNEED) };
        }
    }

    /// Whether the image is a Ballast guest, whose parameters the host knows.
    pub fn is_ballast(&self) -> bool {
        !elf::notes_of(&self.bytes, NOTE_NAME).is_empty()
    }

    /// Where the guest publishes its numbers; `None` for a kernel that does not, or not as this program reads.
    pub fn stats_note(&self) -> Option<StatsNote> {
        let notes = elf::notes_of(&self.bytes, NOTE_NAME);
        let note = notes.iter().find(|note| note.kind == NOTE_STATS)?;
        StatsNote::parse(note.descriptor).ok()
    }
}

#[cfg(test)]
mod tests;
