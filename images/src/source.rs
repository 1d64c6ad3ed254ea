//! An image to be read.
//!
//! Owns: the open file, locked against writers, and its size. Stays outside: what the bytes mean.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::ImageError;

/// An open image.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Source {
    /// Opens the image at `path` for reading; a machine that writes to it has it locked.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        // Looked at before opening: opening a pipe can hang.
        let metadata = fs::metadata(path).map_err(ImageError::read(path))?;
        if !metadata.is_file() {
            return Err(ImageError::NotAFile(path.to_owned()));
        }
        let file = File::open(path).map_err(ImageError::read(path))?;
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ImageError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(ImageError::read(path)(error)),
        }
        let bytes = file.metadata().map_err(ImageError::read(path))?.len();
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `length` bytes from `offset` on, or fewer where the image ends.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, ImageError> {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ImageError::Changed(self.path.clone()))
            }
            Err(error) => Err(ImageError::read(&self.path)(error)),
        }
    }
}
