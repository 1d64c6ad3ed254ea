//! What can go wrong, one variant per distinct reaction of the caller.

use crate::addr::VirtAddr;
use core::fmt;

/// Why there is no new area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmallocError {
    /// The size is 0 or above the RAM of the machine.
    BadSize,
    /// The frames to map or the rights are not possible: not aligned, or beyond physical memory.
    Invalid,
    /// The range has not so many pages in a row.
    NoAddresses,
    /// No frames, for the area or for tables. What was taken has been given back.
    NoMemory,
    /// The range is not open, or is open already.
    NotReady,
    /// The page tables hold what they cannot: stop and report a bug.
    Corrupt,
}

impl fmt::Display for VmallocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadSize => "bad size",
            Self::Invalid => "frames that cannot be mapped",
            Self::NoAddresses => "out of vmalloc addresses",
            Self::NoMemory => "out of memory",
            Self::NotReady => "vmalloc is not ready",
            Self::Corrupt => "corrupt page table below the vmalloc range",
        })
    }
}

/// Why an area was not freed. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeAreaError {
    /// The address is not that of a page in the range.
    BadAddress(VirtAddr),
    /// No area starts there.
    Nonexistent(VirtAddr),
    /// The area that started there has been freed.
    DoubleFree(VirtAddr),
    /// The area that starts there is of another kind.
    WrongKind(VirtAddr),
    /// The page tables hold what they cannot. The area is lost.
    Corrupt(VirtAddr),
}

impl fmt::Display for FreeAreaError {
    /// The text after `Trying to vfree() ` or the like, as Linux words it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, va, why) = match self {
            Self::BadAddress(va) => ("bad address", va, ""),
            Self::Nonexistent(va) => ("nonexistent vm area", va, ""),
            Self::DoubleFree(va) => ("nonexistent vm area", va, ": freed already"),
            Self::WrongKind(va) => ("vm area", va, " that is of another kind"),
            Self::Corrupt(va) => ("vm area", va, " with corrupt page tables"),
        };
        write!(f, "{what} ({:016x}){why}", va.get())
    }
}
