//! Changes. Every one first makes sure that it will succeed.
//!
//! A change runs down to one leaf; on the way back up each node repairs what it says about the one below, takes in the
//! new node if that was split, or feeds it if it has become too small. What the next leaf knows of this one is told
//! it by a second way down, which is needed only if the last range of the leaf has changed.

use super::node::{LEAST, Node, Owned};
use super::{Bag, ChangeError, Entry, LIMIT, MapleTree};
use crate::mutant::planted;
use core::mem::replace;
use core::ops::Range;
use core::ptr::NonNull;

/// Runs `edit` on the leaf of `page`. Gives the new node to the right of `node`, if it was split.
fn edit<'p>(
    node: &mut Node<'p>,
    page: u64,
    bag: &mut Bag<'p>,
    change: impl FnOnce(&mut Node<'p>, &mut Bag<'p>) -> Option<Owned<'p>>,
) -> Option<Owned<'p>> {
    let at = node.place(page);
    let Some(child) = node.child_mut(at) else { return change(node, bag) };
    let split = edit(child, page, bag, change);
    let is_small = child.len() < LEAST;
    if !planted("maple.gaps_are_not_refreshed") {
        node.refresh(at);
    }
    match split {
        Some(right) => node.add_child(at + 1, right, bag),
        None => {
            if is_small {
                node.feed(at, bag);
            }
            None
        }
    }
}

impl<'p, T> MapleTree<'p, T> {
    /// Puts a range in.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn insert(
        &mut self,
        range: Range<u64>,
        value: NonNull<T>,
        bag: &mut Bag<'p>,
    ) -> Result<(), ChangeError> {
        check(&range)?;
        if self.next_from(range.start).is_some_and(|next| next.first < range.end) {
            return Err(ChangeError::Overlap);
        }
        if bag.len() < self.nodes_to_insert(range.start) {
            return Err(ChangeError::NoNodes);
        }
        if self.root.is_none() {
            self.root = bag.take(0);
        }
        let mut is_last = false;
        self.edit(range.start, bag, |leaf, bag| {
            let place = leaf.place(range.start);
            let at = place + usize::from(leaf.first(place) < range.start);
            is_last = at == leaf.len();
            leaf.add_range(at, range.start, range.end, value.cast(), bag)
        });
        self.len += 1;
        if is_last {
            self.tell_next(range.end);
        }
        Ok(())
    }

    /// How many nodes it takes to put a range in that starts at `page`.
    fn nodes_to_insert(&self, page: u64) -> usize {
        // A new root, unless there is room on the way; and one for each full node below that.
        let (mut next, mut count) = (self.root(), usize::from(!planted("maple.a_new_root_is_free")));
        while let Some(node) = next {
            count = if node.is_full() { count + 1 } else { 0 };
            next = node.child(node.place(page));
        }
        count
    }

    /// Takes the range out that starts at `first`. `None` if there is none.
    pub fn remove(&mut self, first: u64, bag: &mut Bag<'p>) -> Option<Entry<T>> {
        let gone = self.at(first)?;
        let mut is_last = false;
        self.edit(first, bag, |leaf, _| {
            let at = leaf.place(first);
            leaf.remove_range(at);
            is_last = at == leaf.len();
            None
        });
        self.len -= 1;
        self.lower(bag);
        if is_last {
            self.tell_next(gone.end);
        }
        Some(gone)
    }

    /// Moves the bounds of the range that starts at `first`. It stays between its neighbours.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn set_bounds(&mut self, first: u64, new: Range<u64>) -> Result<(), ChangeError> {
        check(&new)?;
        let old = self.at(first).ok_or(ChangeError::Unknown)?;
        let starts_below = self.prev(old.first).is_some_and(|before| new.start < before.end);
        let ends_above = self.next_from(old.end).is_some_and(|after| after.first < new.end);
        if starts_below || ends_above {
            return Err(ChangeError::Overlap);
        }
        let mut is_last = false;
        // Bounds need no nodes.
        self.edit(first, &mut Bag::new(), |leaf, _| {
            let at = leaf.place(first);
            leaf.set_range(at, new.start, new.end);
            is_last = at + 1 == leaf.len();
            None
        });
        if is_last && old.end != new.end {
            self.tell_next(new.end);
        }
        Ok(())
    }

    /// Takes all ranges out.
    pub fn clear(&mut self, bag: &mut Bag<'p>) {
        if let Some(root) = self.root.take() {
            dissolve(root, bag);
        }
        self.len = 0;
    }

    /// Runs `change` on the leaf of `page`, and gives the tree a new root if the old one was split.
    fn edit(
        &mut self,
        page: u64,
        bag: &mut Bag<'p>,
        change: impl FnOnce(&mut Node<'p>, &mut Bag<'p>) -> Option<Owned<'p>>,
    ) {
        let Some(root) = &mut self.root else { return };
        let Some(right) = edit(root, page, bag, change) else { return };
        // It is one of the nodes that were counted before the change.
        let Some(top) = bag.take(root.level() + 1) else { return };
        let left = replace(root, top);
        // Two entries fit without another node.
        let _ = root.add_child(0, left, bag);
        let _ = root.add_child(1, right, bag);
    }

    /// Takes a root away that leads to one node, or to nothing.
    fn lower(&mut self, bag: &mut Bag<'p>) {
        let Some(root) = &mut self.root else { return };
        if root.len() == 1
            && let Some(child) = root.take_last_child()
        {
            bag.put(replace(root, child));
        } else if root.len() == 0
            && let Some(root) = self.root.take()
        {
            bag.put(root);
        }
    }

    /// Tells a leaf whose first range is the next that ends above `page` where the one before it ends.
    fn tell_next(&mut self, page: u64) {
        let Some(next) = self.next_from(page).filter(|_| !planted("maple.the_next_leaf_is_not_told")) else {
            return;
        };
        let before = self.prev(next.first).map_or(0, |before| before.end);
        self.edit(next.first, &mut Bag::new(), |leaf, _| {
            if leaf.place(next.first) == 0 {
                leaf.set_before(before);
            }
            None
        });
    }
}

/// Whether there can be such a range.
fn check(range: &Range<u64>) -> Result<(), ChangeError> {
    if range.is_empty() || range.end > LIMIT { Err(ChangeError::Invalid) } else { Ok(()) }
}

/// Gives back a node and all below it.
fn dissolve<'p>(mut node: Owned<'p>, bag: &mut Bag<'p>) {
    while let Some(child) = node.take_last_child() {
        dissolve(child, bag);
    }
    bag.put(node);
}
