//! Looking for ranges. Nothing here writes.

use super::node::Node;
use super::{Entry, LIMIT, MapleTree};
use core::ops::Range;

impl<'p> Node<'p> {
    /// The range at `at` of this leaf.
    #[inline(always)]
    fn entry<T>(&self, at: usize) -> Option<Entry<T>> {
        let value = self.value(at)?.cast();
        Some(Entry { first: self.first(at), end: self.bound(at), value })
    }

    /// The leaf below this node that `page` belongs into.
    #[inline(always)]
    fn leaf(&self, page: u64) -> Option<&Self> {
        let mut node = self;
        while node.level() != 0 {
            node = node.child(node.place(page))?;
        }
        Some(node)
    }

    /// The leaf after that of `page`.
    fn leaf_after(&self, page: u64) -> Option<&Self> {
        let (mut node, mut after) = (self, None);
        loop {
            let at = node.place(page);
            let Some(child) = node.child(at) else { break };
            after = node.child(at + 1).or(after);
            node = child;
        }
        after?.leaf(0)
    }

    /// The leaf before that of `page`.
    fn leaf_before(&self, page: u64) -> Option<&Self> {
        let (mut node, mut before) = (self, None);
        loop {
            let at = node.place(page);
            let Some(child) = node.child(at) else { break };
            before = at.checked_sub(1).and_then(|at| node.child(at)).or(before);
            node = child;
        }
        before?.leaf(LIMIT)
    }
}

impl<'p, T> MapleTree<'p, T> {
    #[inline(always)]
    pub(super) fn root(&self) -> Option<&Node<'p>> {
        self.root.as_deref()
    }

    /// The range that `page` is in (Linux `vma_lookup`).
    #[inline(always)]
    #[must_use]
    pub fn find(&self, page: u64) -> Option<Entry<T>> {
        let leaf = self.root()?.leaf(page)?;
        let at = leaf.place(page);
        let entry = leaf.entry(at)?;
        (entry.first <= page && page < entry.end).then_some(entry)
    }

    /// The first range that ends above `page`: the one it is in, or the next (Linux `find_vma`).
    #[must_use]
    pub fn next_from(&self, page: u64) -> Option<Entry<T>> {
        let (leaf, at) = self.next_place(page)?;
        leaf.entry(at)
    }

    /// The leaf and the place in it of the first range that ends above `page`.
    fn next_place(&self, page: u64) -> Option<(&Node<'p>, usize)> {
        let root = self.root()?;
        let leaf = root.leaf(page)?;
        let at = leaf.place(page);
        let at = if leaf.bound(at) > page { at } else { at + 1 };
        if at < leaf.len() { Some((leaf, at)) } else { root.leaf_after(page).map(|leaf| (leaf, 0)) }
    }

    /// The last range that ends at or below `page` (Linux `mas_prev`).
    #[must_use]
    pub fn prev(&self, page: u64) -> Option<Entry<T>> {
        let page = page.min(LIMIT);
        let root = self.root()?;
        let leaf = root.leaf(page)?;
        let at = leaf.place(page);
        if leaf.bound(at) <= page {
            return leaf.entry(at);
        }
        match at.checked_sub(1) {
            Some(at) => leaf.entry(at),
            None => root.leaf_before(page).and_then(|leaf| leaf.entry(leaf.len().checked_sub(1)?)),
        }
    }

    /// The range that starts at `first`.
    pub(super) fn at(&self, first: u64) -> Option<Entry<T>> {
        self.find(first).filter(|entry| entry.first == first)
    }

    /// The ranges that have pages in `window`, in order.
    pub fn iter(&self, window: Range<u64>) -> Iter<'_, 'p, T> {
        let place = if window.is_empty() { None } else { self.next_place(window.start) };
        Iter { tree: self, place, end: window.end }
    }
}

/// Ranges in order; see [`MapleTree::iter`].
pub struct Iter<'t, 'p, T> {
    tree: &'t MapleTree<'p, T>,
    place: Option<(&'t Node<'p>, usize)>,
    end: u64,
}

impl<T> Iterator for Iter<'_, '_, T> {
    type Item = Entry<T>;

    fn next(&mut self) -> Option<Entry<T>> {
        let (leaf, at) = self.place?;
        let entry: Entry<T> = leaf.entry(at)?;
        if entry.first >= self.end {
            self.place = None;
            return None;
        }
        self.place = if at + 1 < leaf.len() { Some((leaf, at + 1)) } else { self.tree.next_place(entry.end) };
        Some(entry)
    }
}
