//! An image while it is being written: nobody sees it before it is whole.
//!
//! Owns: the unfinished file and its way to its name. Stays outside: what is written.
//! Invariants: a build that fails or is killed leaves neither a half-written image nor a temporary file: until
//! [`Draft::finish`] the file has no name. Only where the file system cannot do that has it one, beside the
//! image, which a failing build removes. An image that another process has locked is not replaced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags};
use tempfile::TempPath;

use crate::ImageError;

/// What to do about an image that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to touch it.
    Keep,
    /// Replace it, unless it is in use.
    Replace,
}

/// An image that is being written.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: File,
    /// Where it is, if the file system has no files without a name.
    name: Option<TempPath>,
    /// The image to be replaced, locked.
    old: Option<File>,
}

impl Draft {
    /// Begins the image that shall be at `path`, with these permissions less what the umask takes.
    pub fn new(path: &Path, existing: Existing, mode: u32) -> Result<Self, ImageError> {
        let old = old_image(path, existing)?;
        // A link to an image stays a link.
        let path = if old.is_some() {
            path.canonicalize().map_err(ImageError::read(path))?
        } else {
            path.to_owned()
        };
        let parent = folder(&path);
        match OpenOptions::new()
            .read(true)
            .write(true)
            .mode(mode)
            .custom_flags(OFlags::TMPFILE.bits().cast_signed())
            .open(parent)
        {
            Ok(file) => Ok(Self { path, file, name: None, old }),
            Err(_) => Self::with_name(path, old, mode),
        }
    }

    fn with_name(path: PathBuf, old: Option<File>, mode: u32) -> Result<Self, ImageError> {
        let mode = fs::Permissions::from_mode(mode);
        let named =
            tempfile::Builder::new().prefix(".vmm-image-").permissions(mode).tempfile_in(folder(&path));
        let (file, name) = named.map_err(ImageError::write(&path))?.into_parts();
        Ok(Self { path, file, name: Some(name), old })
    }

    /// The file to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The reaction to an error of writing.
    pub fn error(&self) -> impl Fn(io::Error) -> ImageError {
        ImageError::write(&self.path)
    }

    /// Makes the contents stable and gives the image its name.
    pub fn finish(self) -> Result<(), ImageError> {
        let Self { path, file, name, old } = self;
        let appear = || {
            file.sync_all()?;
            let name = match name {
                Some(name) => name,
                None if old.is_none() => return link(&file, &path),
                None => name_beside(&file, &path)?,
            };
            let placed = if old.is_some() { name.persist(&path) } else { name.persist_noclobber(&path) };
            placed.map_err(|error| error.error)
        };
        appear().map_err(|reason| match reason.kind() {
            io::ErrorKind::AlreadyExists => ImageError::Exists(path.clone()),
            _ => ImageError::Write { path: path.clone(), reason },
        })
    }
}

/// The image at `path`, locked, if there is one that may be replaced.
fn old_image(path: &Path, existing: Existing) -> Result<Option<File>, ImageError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return Ok(None),
        Err(error) => return Err(ImageError::write(path)(error)),
    };
    match existing {
        Existing::Keep => return Err(ImageError::Exists(path.to_owned())),
        Existing::Replace if !metadata.is_file() => return Err(ImageError::NotAFile(path.to_owned())),
        Existing::Replace => {}
    }
    let file = File::open(path).map_err(ImageError::read(path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(ImageError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(ImageError::read(path)(error)),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives `file`, which has no name, the name `path`; fails if it is taken.
fn link(file: &File, path: &Path) -> io::Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Gives `file`, which has no name, one of its own in the folder of `path`.
fn name_beside(file: &File, path: &Path) -> io::Result<TempPath> {
    let named = tempfile::Builder::new().prefix(".vmm-image-").make_in(folder(path), |name| link(file, name));
    Ok(named?.into_temp_path())
}

#[cfg(test)]
mod tests;
