//! Why a change of a page table stopped, and where.

use crate::addr::VirtAddr;
use crate::errno::Errno;
use core::fmt;

/// Why, one variant per reaction of the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The address or size does not fit the leaf or the number of levels: refuse the request.
    Invalid,
    /// The MMU has no leaf of that size: take a smaller one or refuse.
    NoSuchLeaf,
    /// Something is mapped or parked there already.
    Exists,
    /// No frame for a table: reclaim and try again.
    NoFrames,
    /// An entry that cannot be: stop and report a bug.
    Corrupt,
}

/// A change of a page table that stopped at a page. What lies below that page is done, the rest is untouched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PtError {
    /// Where it stopped.
    pub at: VirtAddr,
    /// Why.
    pub why: Why,
}

impl fmt::Display for PtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Invalid => "address not aligned or not canonical",
            Why::NoSuchLeaf => "page size not supported by this CPU",
            Why::Exists => "already mapped",
            Why::NoFrames => "no memory for a page table",
            Why::Corrupt => "corrupt page-table entry",
        };
        write!(f, "page table at {:#x}: {why}", self.at.get())
    }
}

impl From<PtError> for Errno {
    fn from(error: PtError) -> Self {
        match error.why {
            Why::NoFrames => Self::Enomem,
            Why::Exists => Self::Eexist,
            Why::Invalid | Why::NoSuchLeaf => Self::Einval,
            Why::Corrupt => Self::Ecorrupt,
        }
    }
}
