//! The kernel image a machine boots: the guest that is built in, or a file.
//!
//! Owns: reading the file, and telling whether an image is a Ballast guest.
//! Stays outside: loading it into RAM (`loader`, `tcg`).

pub mod notes;

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The guest, built by the build script.
static BUILT_IN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.elf"));

/// Why there is no kernel to boot.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The file cannot be read.
    #[error("cannot read kernel {}: {source}; check the path of --kernel", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A kernel image.
pub struct Kernel {
    name: String,
    bytes: Cow<'static, [u8]>,
}

impl Kernel {
    /// The kernel at `path`, or the one that is built in.
    pub fn open(path: Option<&Path>) -> Result<Self, KernelError> {
        let Some(path) = path else {
            return Ok(Self { name: String::from("the built-in guest"), bytes: Cow::Borrowed(BUILT_IN) });
        };
        let bytes = fs::read(path).map_err(|source| KernelError::Read { path: path.to_owned(), source })?;
        Ok(Self { name: path.display().to_string(), bytes: Cow::Owned(bytes) })
    }

    /// What to call the image in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the image is a Ballast guest, whose parameters the host knows.
    pub fn is_ballast(&self) -> bool {
        !notes::notes_of(&self.bytes, shared::stats::NOTE_NAME).is_empty()
    }

    /// The image.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
