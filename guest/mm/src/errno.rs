//! What a call says when it does nothing: Linux's error numbers, one for each reaction (`include/uapi/asm-generic/errno-base.h`).

use crate::port::IoError;
use core::fmt;

/// See the module documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errno {
    /// Not allowed.
    Eperm,
    /// There is no such file.
    Enoent,
    /// A disk failed.
    Eio,
    /// Try again.
    Eagain,
    /// No memory, no room, or nothing is mapped there.
    Enomem,
    /// Not with these rights.
    Eacces,
    /// A bad address.
    Efault,
    /// Somebody uses it.
    Ebusy,
    /// There is something already.
    Eexist,
    /// There is no such device.
    Enodev,
    /// A bad argument.
    Einval,
    /// Too many files are open.
    Enfile,
    /// The file is in use and stays as it is.
    Etxtbsy,
    /// Larger than a file can be.
    Efbig,
    /// No room on the disk.
    Enospc,
    /// The disk cannot be written.
    Erofs,
    /// A name that is too long.
    Enametoolong,
    /// The disk knows no such requests.
    Eopnotsupp,
    /// What is in memory or on a disk makes no sense.
    Ecorrupt,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eperm => "EPERM",
            Self::Enoent => "ENOENT",
            Self::Eio => "EIO",
            Self::Eagain => "EAGAIN",
            Self::Enomem => "ENOMEM",
            Self::Eacces => "EACCES",
            Self::Efault => "EFAULT",
            Self::Ebusy => "EBUSY",
            Self::Eexist => "EEXIST",
            Self::Enodev => "ENODEV",
            Self::Einval => "EINVAL",
            Self::Enfile => "ENFILE",
            Self::Etxtbsy => "ETXTBSY",
            Self::Efbig => "EFBIG",
            Self::Enospc => "ENOSPC",
            Self::Erofs => "EROFS",
            Self::Enametoolong => "ENAMETOOLONG",
            Self::Eopnotsupp => "EOPNOTSUPP",
            Self::Ecorrupt => "corrupt structures",
        })
    }
}

impl From<IoError> for Errno {
    fn from(error: IoError) -> Self {
        match error {
            IoError::Io => Self::Eio,
            IoError::NoSpace => Self::Enospc,
            IoError::ReadOnly => Self::Erofs,
            IoError::Invalid => Self::Einval,
            IoError::Unsupported => Self::Eopnotsupp,
            IoError::Busy => Self::Eagain,
        }
    }
}
