//! What can go wrong. One variant for each different reaction.

use super::Name;
use crate::phys::AllocError;
use core::fmt;

/// Why a cache was not made or not destroyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// A cache of that name is there (Linux `EEXIST`).
    Exists,
    /// The name is empty or too long, the size is 0 or above 4 MiB, or the alignment is not a power of two
    /// (Linux `EINVAL`).
    Invalid,
    /// No memory for it, or no more room in the table (Linux `ENOMEM`).
    NoMemory,
    /// There is no such cache.
    Unknown,
    /// Some of its objects are in use (Linux `EBUSY`).
    Busy,
    /// Before boot.
    NotBooted,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => "EEXIST: a cache of that name is there",
            Self::Invalid => {
                "EINVAL: give a name of 1 to 31 bytes, a size of 1 to 4194304, and a power of two to align to"
            }
            Self::NoMemory => "ENOMEM: no memory or no room for another cache",
            Self::Unknown => "ENOENT: no cache of that name",
            Self::Busy => "EBUSY: some of its objects are in use",
            Self::NotBooted => "the slab allocator has not booted",
        })
    }
}

impl From<AllocError> for CreateError {
    fn from(error: AllocError) -> Self {
        match error {
            AllocError::NotBooted => Self::NotBooted,
            _ => Self::NoMemory,
        }
    }
}

/// Why an address cannot be freed or measured. All but [`ObjectError::NotBooted`] are bugs of the caller, and
/// nothing was changed. Addresses are virtual.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectError {
    /// No object of the allocator can be there: not in the direct map, or no slab and no large block.
    NotAnObject(usize),
    /// It is inside a slab or a large block, but no object starts there.
    NotAtStart(usize),
    /// It belongs to another cache.
    WrongCache {
        /// The address.
        at: usize,
        /// The cache that was named.
        asked: Name,
        /// The cache that it belongs to.
        found: Name,
    },
    /// It is free already.
    DoubleFree {
        /// The address.
        at: usize,
        /// Its cache.
        cache: Name,
    },
    /// The checks of `slab_debug=` have found a corruption and reported it.
    Corrupt(usize),
    /// Before boot.
    NotBooted,
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject(at) => write!(f, "Not a slab object: 0x{at:016x}"),
            Self::NotAtStart(at) => write!(f, "Invalid object pointer 0x{at:016x}"),
            Self::WrongCache { at, asked, found } => {
                write!(f, "Wrong slab cache. {asked} but object 0x{at:016x} is from {found}")
            }
            Self::DoubleFree { at, cache } => {
                write!(f, "{cache}: Object already free 0x{at:016x} (double free)")
            }
            Self::Corrupt(at) => write!(f, "Corrupt object 0x{at:016x}"),
            Self::NotBooted => f.write_str("the slab allocator has not booted"),
        }
    }
}
