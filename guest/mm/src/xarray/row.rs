//! Many entries in a row, for little: as long as they stand in one node, it is not looked for again.
//!
//! Owns: the node, which stays as long as the section does. Invariants: as a [`Cursor`](super::Cursor): the array may change
//! in any way meanwhile; each entry that stays is met once, in order.

use super::Entry;
use super::node::Node;
use super::tree::{LAST, Tree, offset_at};
use crate::sync::rcu::Section;

/// See the module documentation. Gives each entry that stands for an index of the range, with the first of these.
pub struct Entries<'s, S> {
    tree: &'s Tree,
    section: &'s S,
    node: Option<&'s Node>,
    next: u64,
    /// The last index that the node has.
    row: u64,
    last: u64,
}

impl<'s, S: Section> Entries<'s, S> {
    pub(super) const fn new(tree: &'s Tree, section: &'s S, first: u64, last: u64) -> Self {
        Self { tree, section, node: None, next: first, row: 0, last }
    }

    /// Finds the node of the next index. Of an entry that stands for more than one the node does not help: then that entry.
    #[inline(never)]
    fn next_row(&mut self) -> Option<(u64, Entry)> {
        let lowest = self.tree.lowest(self.section, self.next);
        if let Some((node, ..)) = lowest.filter(|(_, shift, slot)| *shift == 0 && slot.width == 1) {
            (self.node, self.row) = (Some(node), (self.next | LAST).min(self.last));
            return None;
        }
        let found = self.tree.find(self.section, self.next, self.last, None);
        let first = self.next;
        self.next = found.map_or(self.last, |found| found.last()).saturating_add(1);
        found.map(|found| (found.index.max(first), found.entry))
    }
}

impl<S: Section> Iterator for Entries<'_, S> {
    type Item = (u64, Entry);

    #[inline(always)]
    fn next(&mut self) -> Option<(u64, Entry)> {
        loop {
            while let Some(node) = self.node {
                let at = self.next;
                if at > self.row {
                    self.node = None;
                    break;
                }
                self.next += 1;
                let entry = node.entry(offset_at(at, 0));
                if !entry.is_null() && !entry.is_internal() {
                    return Some((at, entry));
                }
            }
            if self.next > self.last {
                return None;
            }
            if let Some(found) = self.next_row() {
                return Some(found);
            }
        }
    }
}
