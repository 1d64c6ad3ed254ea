//! What can go wrong with an image; each text is a complete line.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image could not be built or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image is there already.
    #[error("{} exists; choose another name, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// The path names something that is no regular file.
    #[error("{} is not a regular file; give the path of an image file", .0.display())]
    NotAFile(PathBuf),
    /// Another process uses the image.
    #[error("{} is in use by another process; stop that process first", .0.display())]
    Locked(PathBuf),
    /// The system refuses to read a file.
    #[error("cannot read {}: {reason}; check the path and its mode", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The system refuses to write the image. Nothing is left of it.
    #[error("cannot write {}: {reason}; check the directory, its mode and the room there", path.display())]
    Write {
        /// The image.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A host file got shorter while it was copied.
    #[error("{} changed while it was copied; try again when nobody writes to it", .0.display())]
    Changed(PathBuf),
    /// A size no image can have.
    #[error("{what}: {bytes} bytes is not possible; {rule}")]
    Size {
        /// What was to have the size.
        what: String,
        /// The size.
        bytes: u64,
        /// What is possible.
        rule: &'static str,
    },
    /// The contents need more room than the size of the image leaves.
    #[error("{what} needs {needed} bytes where {room} are left; make --size larger or contents smaller")]
    NoRoom {
        /// What did not fit.
        what: &'static str,
        /// Bytes it needs.
        needed: u64,
        /// Bytes there are.
        room: u64,
    },
    /// A name that cannot be used.
    #[error("{0:?} cannot be the name of a {1}; {2}")]
    Name(String, &'static str, &'static str),
    /// A name that is used twice.
    #[error("two {1}s are called {0:?}; give each its own name")]
    SameName(String, &'static str),
    /// More files or partitions than an image can have.
    #[error("{0} {1}s: an image has at most {2}")]
    TooMany(usize, &'static str, usize),
    /// A label or a list of bad pages that the header of a swap area has no room for, or that makes no sense.
    #[error("swap area: {0}")]
    Swap(&'static str),
    /// Something in a directory is neither a file nor a directory.
    #[error("{} is neither a file nor a directory; leave it out, or give its contents with --file", .0.display())]
    NotCopied(PathBuf),
    /// The image is none that could hold anything.
    #[error("{} has no sound {what}; `vmm image inspect` says what is wrong", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// No file and no partition has the name.
    #[error("{} has no file or partition {name:?}; `vmm image inspect` lists what there is", path.display())]
    NoSuchName {
        /// The image.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// What was read or found cannot be written to where it was to go.
    #[error("cannot write what was asked for: {0}; check where standard output goes")]
    Output(io::Error),
}

impl ImageError {
    /// The reaction to an error of reading `path`.
    pub(crate) fn read(path: &Path) -> impl Fn(io::Error) -> Self {
        |reason| Self::Read { path: path.to_owned(), reason }
    }

    /// The reaction to an error of writing `path`.
    pub(crate) fn write(path: &Path) -> impl Fn(io::Error) -> Self {
        |reason| Self::Write { path: path.to_owned(), reason }
    }
}
