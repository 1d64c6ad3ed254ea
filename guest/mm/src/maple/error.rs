//! What can go wrong. Nothing has changed then.

use core::fmt;

/// Why a range was not put in, or not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// The range is empty, or ends above [`LIMIT`](super::LIMIT).
    Invalid,
    /// Pages of it are in another range.
    Overlap,
    /// No range starts there.
    Unknown,
    /// The change needs more nodes than there are in the bag.
    NoNodes,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "a range that cannot be",
            Self::Overlap => "the ranges overlap",
            Self::Unknown => "no range starts there",
            Self::NoNodes => "no nodes in reserve",
        })
    }
}

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapleViolation {
    /// The first page of the node.
    pub first: u64,
    /// What is wrong there.
    pub what: &'static str,
}
