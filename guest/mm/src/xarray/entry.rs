//! The words of an array: what its user stores, and what only the array itself stores.
//!
//! Owns: the encoding (Linux `include/linux/xarray.h`). Invariants: a user cannot make a word of the array's own.
//!
//! | low bits | meaning |
//! |---|---|
//! | all 0 | nothing |
//! | `00` | a pointer, or a number shifted left by two |
//! | `x1` | a value: a number of 63 bits |
//! | `10` | the array's own: below 4096 the slot that a sibling belongs to, above a node |

use super::node::Node;
use core::fmt;
use core::ptr::{NonNull, null_mut, without_provenance_mut};

const VALUE: usize = 1;
const INTERNAL: usize = 2;
const LOW_BITS: usize = 3;
/// No node lies below.
const LEAST_NODE: usize = 4096;

/// What stands at an index.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry(*mut ());

// SAFETY: an entry is a word; nothing here follows it.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

impl Entry {
    /// Nothing.
    pub const NULL: Self = Self(null_mut());

    /// A number below 2^63 that is no pointer: a shadow, a swap entry. `None` for larger ones.
    #[inline]
    #[must_use]
    pub fn value(number: u64) -> Option<Self> {
        (number >> 63 == 0).then(|| Self(without_provenance_mut((number as usize) << 1 | VALUE)))
    }

    /// A pointer; `None` if one of its low two bits is set.
    #[inline]
    #[must_use]
    pub fn pointer(pointer: NonNull<()>) -> Option<Self> {
        (pointer.addr().get() & LOW_BITS == 0).then_some(Self(pointer.as_ptr()))
    }

    /// The number of something, in place of a pointer to it: `None` for 0 and above 62 bits.
    #[inline]
    #[must_use]
    pub fn handle(number: u64) -> Option<Self> {
        (number != 0 && number >> 62 == 0).then(|| Self(without_provenance_mut((number as usize) << 2)))
    }

    /// Whether it is nothing.
    #[inline(always)]
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Whether it is a value.
    #[inline(always)]
    #[must_use]
    pub fn is_value(self) -> bool {
        self.0.addr() & VALUE != 0
    }

    /// Whether it is a pointer or a handle.
    #[inline(always)]
    #[must_use]
    pub fn is_pointer(self) -> bool {
        !self.is_null() && !self.is_value()
    }

    /// The number of a value.
    #[inline]
    #[must_use]
    pub fn as_value(self) -> Option<u64> {
        self.is_value().then_some((self.0.addr() >> 1) as u64)
    }

    /// A pointer.
    #[inline]
    #[must_use]
    pub fn as_pointer(self) -> Option<NonNull<()>> {
        NonNull::new(self.0).filter(|_| !self.is_value())
    }

    /// The number of a handle.
    #[inline]
    #[must_use]
    pub fn as_handle(self) -> Option<u64> {
        self.is_pointer().then_some((self.0.addr() >> 2) as u64)
    }

    pub(super) const fn from_word(word: *mut ()) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> *mut () {
        self.0
    }

    /// The way to a node.
    pub(super) fn of_node(node: NonNull<Node>) -> Self {
        Self(node.as_ptr().cast::<()>().map_addr(|addr| addr | INTERNAL))
    }

    /// What says that the entry at `offset` of the same node reaches this far.
    pub(super) fn sibling_of(offset: usize) -> Self {
        Self(without_provenance_mut(offset << 2 | INTERNAL))
    }

    #[inline(always)]
    pub(super) fn is_internal(self) -> bool {
        self.0.addr() & LOW_BITS == INTERNAL
    }

    #[inline(always)]
    pub(super) fn as_node(self) -> Option<NonNull<Node>> {
        if !self.is_internal() || self.0.addr() < LEAST_NODE {
            return None;
        }
        NonNull::new(self.0.map_addr(|addr| addr - INTERNAL).cast())
    }

    #[inline(always)]
    pub(super) fn as_sibling(self) -> Option<usize> {
        (self.is_internal() && self.0.addr() < LEAST_NODE).then_some(self.0.addr() >> 2)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.as_value(), self.is_null()) {
            (Some(number), _) => write!(f, "value {number:#x}"),
            (None, true) => f.write_str("nothing"),
            (None, false) => write!(f, "{:p}", self.0),
        }
    }
}
