//! What a call says when it does nothing: Linux's error numbers, one for each reaction.

use core::fmt;

/// See the module documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errno {
    /// Not allowed.
    Eperm,
    /// Try again.
    Eagain,
    /// No memory, no room, or nothing is mapped there.
    Enomem,
    /// Not with these rights.
    Eacces,
    /// A bad address.
    Efault,
    /// There is something already.
    Eexist,
    /// A bad argument.
    Einval,
    /// The page tables are corrupt.
    Ecorrupt,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eperm => "EPERM",
            Self::Eagain => "EAGAIN",
            Self::Enomem => "ENOMEM",
            Self::Eacces => "EACCES",
            Self::Efault => "EFAULT",
            Self::Eexist => "EEXIST",
            Self::Einval => "EINVAL",
            Self::Ecorrupt => "corrupt page tables",
        })
    }
}

impl From<crate::pgtable::PtError> for Errno {
    fn from(error: crate::pgtable::PtError) -> Self {
        use crate::pgtable::Why;
        match error.why {
            Why::NoFrames => Self::Enomem,
            Why::Exists => Self::Eexist,
            Why::Invalid | Why::NoSuchLeaf => Self::Einval,
            Why::Corrupt => Self::Ecorrupt,
        }
    }
}

impl From<crate::phys::AllocError> for Errno {
    fn from(_: crate::phys::AllocError) -> Self {
        Self::Enomem
    }
}
