//! Erasing, and giving back nodes and levels that are not needed any more; dividing an entry.
//!
//! Owns: shrinking. Invariants: no node is empty, and the tree has no level that one entry or node could do without.

use super::node::{BITS, Detached, Hang, Mark, Node, SLOTS};
use super::store::{Nodes, parent_of, take_out};
use super::tree::{Held, Slot, Tree, level_of, node_of};
use super::{Entry, Short, SplitError};
use crate::mutant::planted;

impl Tree {
    /// Makes nothing stand at `index`, and at all other indices of its entry. Gives the entry.
    #[inline]
    pub(super) fn erase(&self, held: &Held, index: u64, nodes: &mut Nodes<'_>) -> Entry {
        let head = self.head();
        if node_of(head, held).is_none() {
            if index != 0 {
                return Entry::NULL;
            }
            self.set_head(held, Entry::NULL);
            Mark::ALL.into_iter().for_each(|mark| self.set_marked(held, mark, false));
            return head;
        }
        let Some((node, _, slot)) = self.lowest(held, index) else { return Entry::NULL };
        if slot.entry.is_null() {
            return Entry::NULL;
        }
        for mark in Mark::ALL {
            self.clear_mark_at(held, node, slot.offset, mark);
        }
        if slot.width == 1 {
            node.set(slot.offset, Entry::NULL);
        } else {
            let _writing = self.shape.write();
            (slot.offset..slot.offset + slot.width).for_each(|at| node.set(at, Entry::NULL));
        }
        let lost = if planted("xarray.siblings_stay_values") { 1 } else { slot.width as isize };
        self.adjust(node, -(slot.width as isize), if slot.entry.is_value() { -lost } else { 0 }, nodes);
        if node.count() == 0 || node.parent().is_none() {
            self.prune(held, node, nodes);
        }
        slot.entry
    }

    /// Takes `node`, which has nothing but values, out of the tree with all of them (Linux `xa_delete_node`).
    pub(super) fn delete(&self, held: &Held, node: &Node, nodes: &mut Nodes<'_>) {
        for mark in Mark::ALL {
            (0..SLOTS).for_each(|at| self.clear_mark_at(held, node, at, mark));
        }
        let writing = self.shape.write();
        (0..SLOTS).for_each(|at| node.set(at, Entry::NULL));
        drop(writing);
        self.adjust(node, -(node.count() as isize), -(node.nr_values() as isize), nodes);
        self.prune(held, node, nodes);
    }

    /// Takes `node` out if it is empty, and then what it leaves empty above; then levels that are not needed.
    #[cold]
    fn prune<'h>(&self, held: &'h Held, mut node: &'h Node, nodes: &mut Nodes<'_>) {
        while node.count() == 0 && !planted("xarray.empty_nodes_stay") {
            let Some(parent) = parent_of(node, held) else {
                self.replace_head(held, Entry::NULL, nodes);
                return;
            };
            let way = parent.entry(node.offset());
            parent.set(node.offset(), Entry::NULL);
            self.adjust(parent, -1, 0, nodes);
            take_out(way, held, nodes);
            node = parent;
        }
        if node.parent().is_none() {
            self.shrink(held, nodes);
        }
    }

    /// Takes out top nodes that do nothing but lead to their first slot.
    fn shrink(&self, held: &Held, nodes: &mut Nodes<'_>) {
        while let Some(top) = node_of(self.head(), held) {
            let only = top.entry(0);
            if top.count() != 1 || only.is_null() || planted("xarray.levels_stay") {
                return;
            }
            match node_of(only, held) {
                Some(child) => child.set_parent(None),
                // It stands for more than index 0.
                None if top.shift() != 0 => return,
                None => {}
            }
            self.replace_head(held, only, nodes);
        }
    }

    /// Takes the top node out and puts `entry` in its place.
    fn replace_head(&self, held: &Held, entry: Entry, nodes: &mut Nodes<'_>) {
        let old = self.head();
        self.set_head(held, entry);
        if let Some(top) = old.as_node() {
            // SAFETY: the head was the only way to the top node.
            nodes.detach(unsafe { Detached::new(top) });
        }
    }

    /// Erases all.
    pub(super) fn clear(&self, held: &Held, nodes: &mut Nodes<'_>) {
        let head = self.head();
        self.set_head(held, Entry::NULL);
        Mark::ALL.into_iter().for_each(|mark| self.set_marked(held, mark, false));
        take_out(head, held, nodes);
    }

    /// Divides the entry at `index` into entries of `order` that are equal to it, marks included. Does nothing if it
    /// is no larger.
    pub(super) fn split(
        &self,
        held: &Held,
        index: u64,
        order: u32,
        nodes: &mut Nodes<'_>,
    ) -> Result<(), SplitError> {
        let Some((node, shift, slot)) = self.lowest(held, index) else { return Ok(()) };
        let target = level_of(order);
        if slot.entry.is_null() || order >= shift + slot.width.trailing_zeros() {
            return Ok(());
        }
        if target == shift {
            self.split_in_place(node, slot, 1 << (order - target));
            return Ok(());
        }
        if target + BITS != shift {
            return Err(SplitError::TooLarge);
        }
        if nodes.spare.len() < slot.width {
            return Err(SplitError::Short(Short(slot.width)));
        }
        self.split_down(held, node, slot, 1 << (order - target), nodes);
        if node.parent().is_none() {
            self.shrink(held, nodes);
        }
        Ok(())
    }

    /// Into entries of `width` slots of the same node.
    fn split_in_place(&self, node: &Node, slot: Slot, width: usize) {
        let _writing = self.shape.write();
        let range = slot.offset..slot.offset + slot.width;
        for first in range.step_by(width) {
            fill(node, first, width, slot.entry);
            for mark in Mark::ALL {
                let bits = node.marks(mark);
                let has = bits >> slot.offset & 1;
                node.set_marks(mark, bits | has << first);
            }
        }
    }

    /// Into entries of `width` slots of new nodes.
    fn split_down(&self, held: &Held, node: &Node, slot: Slot, width: usize, nodes: &mut Nodes<'_>) {
        let _writing = self.shape.write();
        let Some(shift) = node.shift().checked_sub(BITS) else { return };
        // The way to this node, as its parent or the head has it.
        let way = parent_of(node, held).map_or(self.head(), |parent| parent.entry(node.offset()));
        for offset in slot.offset..slot.offset + slot.width {
            let Some(new) = nodes.spare.pop() else { return };
            new.prepare(&Hang { shift, offset, parent: way.as_node() });
            (0..SLOTS).step_by(width).for_each(|first| fill(new.node(), first, width, slot.entry));
            let values = if slot.entry.is_value() { SLOTS as isize } else { 0 };
            self.adjust(new.node(), SLOTS as isize, values, nodes);
            for mark in Mark::ALL {
                let bits = node.marks(mark);
                if bits >> slot.offset & 1 != 0 {
                    let every = (0..SLOTS).step_by(width).fold(0, |bits, first| bits | 1 << first);
                    new.node().set_marks(mark, every);
                    node.set_marks(mark, bits | 1 << offset);
                }
            }
            node.set(offset, Entry::of_node(new.as_ptr()));
        }
        self.adjust(node, 0, if slot.entry.is_value() { -(slot.width as isize) } else { 0 }, nodes);
    }
}

/// Makes an entry cover `width` slots from `first` on.
fn fill(node: &Node, first: usize, width: usize, entry: Entry) {
    node.set(first, entry);
    (first + 1..first + width).for_each(|at| node.set(at, Entry::sibling_of(first)));
}
