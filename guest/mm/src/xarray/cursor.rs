//! Going over the entries of an array.
//!
//! Owns: how far one has come. Invariants: a cursor is a number and holds on to nothing, so the array may change in
//! any way between two steps; each entry that stays is met once, in order.

use super::{Found, Mark, XArray};
use crate::sync::rcu::Section;

/// A place in an array (Linux `struct xa_state` between `xas_pause` and the next `xas_for_each`).
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    next: Option<u64>,
    last: u64,
    mark: Option<Mark>,
}

impl Cursor {
    /// Over all entries that stand for an index in `first..=last`.
    #[must_use]
    pub const fn new(first: u64, last: u64) -> Self {
        Self { next: Some(first), last, mark: None }
    }

    /// Over those of them that have a mark.
    #[must_use]
    pub const fn marked(first: u64, last: u64, mark: Mark) -> Self {
        Self { next: Some(first), last, mark: Some(mark) }
    }

    /// The next entry. Between two calls the section may end.
    #[inline]
    pub fn next<S: Section>(&mut self, array: &XArray, section: &S) -> Option<Found> {
        let found = self.next.and_then(|next| array.find(section, next, self.last, self.mark));
        self.next = found.and_then(|found| found.last().checked_add(1));
        found
    }
}
