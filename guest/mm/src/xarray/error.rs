//! What can go wrong. One variant for each different reaction.

use core::fmt;

/// An operation needs so many spare nodes. Nothing was changed.
#[must_use = "the operation has to be repeated with more nodes"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Short(pub(super) usize);

/// Why an entry was not divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SplitError {
    /// There are too few spare nodes; nothing was changed.
    Short(Short),
    /// It spans more than two levels of the tree; divide it into larger ones first.
    TooLarge,
}

/// What can go wrong. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XaError {
    /// No memory for nodes (Linux `ENOMEM`).
    NoMemory,
    /// Something stands there already (Linux `EBUSY`).
    Busy,
    /// The entry spans too many levels to be divided so finely at once.
    TooLarge,
}

impl fmt::Display for XaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "ENOMEM: no memory for nodes",
            Self::Busy => "EBUSY: something stands there already",
            Self::TooLarge => "EINVAL: divide it into larger entries first",
        })
    }
}
