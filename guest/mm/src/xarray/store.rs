//! Storing: the way down to a slot, new levels and nodes, and what an entry replaces.
//!
//! Owns: growth. Invariants: what is stored replaces all that stood at its indices; an entry that stands for more
//! indices than are stored to is replaced as a whole. Nodes are counted first: without enough of them nothing changes.

use super::node::{BITS, Detached, Hang, Mark, Node, NodeList, SLOTS};
use super::tree::{Held, Tree, level_of, low_bits, node_of, offset_at, reaches};
use super::{Entry, Short};
use crate::mutant::planted;
use crate::sync::atomic::Ordering::Relaxed;
use core::ptr::NonNull;

/// Who keeps lists of nodes with nothing but values (Linux `xa_update_node_t`). Called under the lock of the array.
pub(super) trait Watch {
    /// `node` has nothing but values now; it is in the tree of `home`.
    fn list(&self, node: &Node, home: NonNull<()>);
    /// It has others, or nothing, or goes.
    fn unlist(&self, node: &Node);
}

/// Nodes that an operation may use, and those that it took out of the tree.
pub(super) struct Nodes<'w> {
    pub(super) spare: NodeList,
    pub(super) gone: NodeList,
    /// Who hears of nodes with nothing but values.
    pub(super) watch: Option<&'w dyn Watch>,
}

impl Nodes<'_> {
    /// Takes in a node that no tree leads to any more.
    pub(super) fn detach(&mut self, node: Detached) {
        self.unlist(node.node());
        self.gone.push(node);
    }

    fn unlist(&self, node: &Node) {
        if let Some(watch) = self.watch.filter(|_| node.is_listed()) {
            watch.unlist(node);
        }
    }
}

impl Tree {
    /// Corrects the counts of slots in use and of values of a node, and tells who watches if it has nothing but values
    /// since, or not any more (Linux `xas_update`).
    #[inline(always)]
    pub(super) fn adjust(&self, node: &Node, slots: isize, values: isize, nodes: &Nodes<'_>) {
        node.adjust(slots, values);
        // No node gets to have values alone by what is added that is none.
        let may_gain = slots < 0 || values > 0;
        if node.is_listed() || may_gain && node.count() == node.nr_values() {
            self.relist(node, nodes);
        }
    }

    #[cold]
    #[inline(never)]
    fn relist(&self, node: &Node, nodes: &Nodes<'_>) {
        let belongs = node.count() != 0 && node.count() == node.nr_values();
        if node.is_listed() && !belongs {
            nodes.unlist(node);
        } else if !node.is_listed()
            && belongs
            && let Some((watch, home)) = nodes.watch.zip(NonNull::new(self.home.load(Relaxed)))
        {
            watch.list(node, home);
        }
    }
}

impl Tree {
    /// Makes `entry`, which is not nothing, stand for all indices that agree with `index` but for the lowest `order`
    /// bits, and gives what stood at `index`.
    #[inline(always)]
    pub(super) fn store(
        &self,
        held: &Held,
        index: u64,
        order: u32,
        entry: Entry,
        nodes: &mut Nodes<'_>,
    ) -> Result<Entry, Short> {
        let (target, last) = (level_of(order), index | low_bits(order));
        let head = self.head();
        let Some(mut node) = node_of(head, held) else {
            if last != 0 {
                return self.store_growing(held, index, order, entry, nodes);
            }
            self.set_head(held, entry);
            return Ok(head);
        };
        let mut shift = node.shift();
        if !reaches(shift, last) || shift < target {
            return self.store_growing(held, index, order, entry, nodes);
        }
        while shift > target {
            let at = node.entry(offset_at(index, shift));
            let Some(child) = node_of(at, held) else {
                if at.is_null() {
                    return self.store_growing(held, index, order, entry, nodes);
                }
                // It stands for more than is stored to.
                return Ok(self.place(held, node, shift, index, 0, entry, nodes));
            };
            (node, shift) = (child, shift.wrapping_sub(BITS));
        }
        Ok(self.place(held, node, shift, index, order - target, entry, nodes))
    }

    /// Stores to the slot of `node` on the way to `index`, two to the power of `width_log` slots wide.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "all of it is at hand, and nothing else uses such a bundle"
    )]
    fn place(
        &self,
        held: &Held,
        node: &Node,
        shift: u32,
        index: u64,
        width_log: u32,
        entry: Entry,
        nodes: &mut Nodes<'_>,
    ) -> Entry {
        let slot = self.slot(node, offset_at(index, shift));
        let old = slot.entry;
        if slot.width < 1 << width_log || old.is_internal() {
            return self.place_over_many(
                held,
                node,
                offset_at(index, shift),
                1 << width_log,
                index,
                entry,
                nodes,
            );
        }
        node.set(slot.offset, entry);
        let values = isize::from(entry.is_value()) - isize::from(old.is_value());
        self.adjust(node, isize::from(old.is_null()), values * slot.width as isize, nodes);
        old
    }

    /// Stores to slots that hold several entries, or ways to nodes.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "as for `place`")]
    fn place_over_many(
        &self,
        held: &Held,
        node: &Node,
        offset: usize,
        width: usize,
        index: u64,
        entry: Entry,
        nodes: &mut Nodes<'_>,
    ) -> Entry {
        let old = self.load(held, index);
        let offset = offset & !(width - 1);
        let range = offset..offset + width;
        let in_use = range.clone().filter(|&at| !node.entry(at).is_null()).count();
        let values = range.clone().filter(|&at| node.slot_value(at)).count();
        let writing = self.shape.write();
        for at in range {
            let was = node.entry(at);
            node.set(at, if at == offset { entry } else { Entry::sibling_of(offset) });
            take_out(was, held, nodes);
        }
        drop(writing);
        squash_marks(node, offset, width);
        let now = if entry.is_value() { width } else { 0 };
        self.adjust(node, width as isize - in_use as isize, now as isize - values as isize, nodes);
        old
    }

    /// Stores where the tree has no slot yet.
    #[cold]
    #[inline(never)]
    fn store_growing(
        &self,
        held: &Held,
        index: u64,
        order: u32,
        entry: Entry,
        nodes: &mut Nodes<'_>,
    ) -> Result<Entry, Short> {
        let needed = self.missing(held, index, order);
        if nodes.spare.len() < needed {
            return Err(Short(needed));
        }
        let target = level_of(order);
        self.expand(held, top_level(index | low_bits(order), target), nodes);
        let Some(mut node) = self.head().as_node() else { return Err(Short(needed)) };
        loop {
            let Some(here) = node_of(Entry::of_node(node), held) else { return Err(Short(needed)) };
            let shift = here.shift();
            if shift == target {
                return Ok(self.place(held, here, shift, index, order - target, entry, nodes));
            }
            let offset = offset_at(index, shift);
            let Some(child) = here.entry(offset).as_node().or_else(|| {
                let new = nodes.spare.pop()?;
                new.prepare(&Hang { shift: shift.wrapping_sub(BITS), offset, parent: Some(node) });
                here.set(offset, Entry::of_node(new.as_ptr()));
                self.adjust(here, 1, 0, nodes);
                Some(new.as_ptr())
            }) else {
                return Err(Short(needed));
            };
            node = child;
        }
    }

    /// How many nodes a store of `order` at `index` needs.
    pub(super) fn missing(&self, held: &Held, index: u64, order: u32) -> usize {
        let (target, last) = (level_of(order), index | low_bits(order));
        let levels = |bits: u32| (bits / BITS) as usize;
        let (head, top) = (self.head(), top_level(last, target));
        let Some(mut node) = node_of(head, held) else {
            return match (head.is_null(), last) {
                (_, 0) => 0,
                (true, _) => levels(top - target) + 1,
                // The entry at index 0 goes to the lowest level.
                (false, _) => levels(top) + 1 + levels(top - target),
            };
        };
        let mut shift = node.shift();
        if shift < top {
            return levels(top - shift) + levels(top - target);
        }
        while shift > target {
            let entry = node.entry(offset_at(index, shift));
            let Some(child) = node_of(entry, held) else {
                return if entry.is_null() { levels(shift - target) } else { 0 };
            };
            (node, shift) = (child, shift.wrapping_sub(BITS));
        }
        0
    }

    /// Puts levels on top until the top node is at `top` or above.
    fn expand(&self, held: &Held, top: u32, nodes: &mut Nodes<'_>) {
        loop {
            let head = self.head();
            let below = node_of(head, held);
            let shift = match below {
                Some(node) if node.shift() >= top => return,
                Some(node) => node.shift() + BITS,
                None if head.is_null() => top,
                None => 0,
            };
            let Some(new) = nodes.spare.pop() else { return };
            new.prepare(&Hang { shift, offset: 0, parent: None });
            if !head.is_null() {
                new.node().set(0, head);
                self.adjust(new.node(), 1, isize::from(head.is_value()), nodes);
                for mark in Mark::ALL {
                    let lost = planted("xarray.growth_loses_marks");
                    new.node().set_marks(mark, u64::from(self.is_marked(mark) && !lost));
                }
            }
            if let Some(below) = below {
                below.set_parent(Some(new.as_ptr()));
            }
            self.set_head(held, Entry::of_node(new.as_ptr()));
        }
    }
}

/// The level of the top node of a tree that reaches as far as `last` and has a level `target`.
const fn top_level(last: u64, target: u32) -> u32 {
    let mut top = target;
    while !reaches(top, last) {
        top += BITS;
    }
    top
}

/// Takes what an entry leads to out of the tree, all the way down. Lookups that are in it still find the old entries.
pub(super) fn take_out(entry: Entry, held: &Held, nodes: &mut Nodes<'_>) {
    let (Some(raw), Some(node)) = (entry.as_node(), node_of(entry, held)) else { return };
    if node.shift() != 0 {
        (0..SLOTS).for_each(|offset| take_out(node.entry(offset), held, nodes));
    }
    // SAFETY: the caller overwrites the only way to this node and thereby to all below it.
    nodes.detach(unsafe { Detached::new(raw) });
}

/// The entry that took over these slots has every mark that something in them had.
fn squash_marks(node: &Node, offset: usize, width: usize) {
    let range = low_bits(width as u32) << offset;
    for mark in Mark::ALL {
        let bits = node.marks(mark);
        if bits & range != 0 {
            node.set_marks(mark, bits & !range | 1 << offset);
        }
    }
}

impl Node {
    /// Whether what covers a slot is a value.
    fn slot_value(&self, offset: usize) -> bool {
        self.entry(self.entry(offset).as_sibling().unwrap_or(offset)).is_value()
    }
}

/// What a node's parent is, for whoever holds the lock.
pub(super) fn parent_of<'h>(node: &Node, held: &'h Held) -> Option<&'h Node> {
    node.parent().and_then(|parent: NonNull<Node>| node_of(Entry::of_node(parent), held))
}
