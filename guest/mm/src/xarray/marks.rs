//! Marks: bits of entries that can be searched for.
//!
//! Owns: keeping the bits of all levels right. Invariants: only the first slot of an entry has marks; a way to a node
//! has a mark exactly if something in the node has it, and the tree exactly if its top has.

use super::node::{Mark, Node};
use super::store::parent_of;
use super::tree::{Held, Tree, node_of};
use crate::mutant::planted;
use crate::sync::rcu::Section;

impl Tree {
    /// Whether the entry at `index` has the mark.
    pub(super) fn has_mark<S: Section>(&self, section: &S, index: u64, mark: Mark) -> bool {
        let head = self.head();
        if node_of(head, section).is_none() {
            return index == 0 && !head.is_null() && self.is_marked(mark);
        }
        self.lowest(section, index).is_some_and(|(node, _, slot)| node.marks(mark) >> slot.offset & 1 != 0)
    }

    /// Gives the entry at `index` a mark or takes it away; nothing if there is none.
    pub(super) fn change_mark(&self, held: &Held, index: u64, mark: Mark, set: Change) {
        let head = self.head();
        if node_of(head, held).is_none() {
            if index == 0 && !head.is_null() {
                self.set_marked(held, mark, set == Change::Set);
            }
            return;
        }
        let Some((node, _, slot)) = self.lowest(held, index).filter(|(.., slot)| !slot.entry.is_null())
        else {
            return;
        };
        match set {
            Change::Set => self.set_mark_at(held, node, slot.offset, mark),
            Change::Clear => self.clear_mark_at(held, node, slot.offset, mark),
        }
    }

    fn set_mark_at<'h>(&self, held: &'h Held, mut node: &'h Node, mut offset: usize, mark: Mark) {
        loop {
            let bits = node.marks(mark);
            if bits >> offset & 1 != 0 {
                return;
            }
            node.set_marks(mark, bits | 1 << offset);
            let Some(parent) = parent_of(node, held) else { break };
            (offset, node) = (node.offset(), parent);
        }
        self.set_marked(held, mark, true);
    }

    pub(super) fn clear_mark_at<'h>(
        &self,
        held: &'h Held,
        mut node: &'h Node,
        mut offset: usize,
        mark: Mark,
    ) {
        loop {
            let bits = node.marks(mark);
            if bits >> offset & 1 == 0 {
                return;
            }
            let left = bits & !(1 << offset);
            node.set_marks(mark, left);
            if left != 0 || planted("xarray.marks_stay_above") {
                return;
            }
            let Some(parent) = parent_of(node, held) else { break };
            (offset, node) = (node.offset(), parent);
        }
        self.set_marked(held, mark, false);
    }

    /// Gives every entry in `first..=last` that has the mark `from` the mark `to`, up to `limit` of them. Gives how
    /// many, and where to go on if the limit was reached.
    pub(super) fn tag_range(
        &self,
        held: &Held,
        (first, last): (u64, u64),
        from: Mark,
        to: Mark,
        limit: u64,
    ) -> (u64, Option<u64>) {
        let (mut index, mut done) = (first, 0);
        while let Some(found) = self.find(held, index, last, Some(from)) {
            if done == limit {
                return (done, Some(found.index.max(index)));
            }
            self.change_mark(held, found.index, to, Change::Set);
            done += 1;
            match found.last().checked_add(1) {
                Some(next) => index = next,
                None => break,
            }
        }
        (done, None)
    }
}

/// What happens to a mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Set,
    Clear,
}
