//! An array whose lock is held: several steps that nobody comes between.
//!
//! Owns: the operations under the lock. Stays outside: allocation; a step that needs nodes takes them from a
//! [`Stock`], and says how many it misses.

use super::marks::Change;
use super::node::Node;
use super::supply::Stock;
use super::tree::{Held, Tree};
use super::{Census, Entry, Found, Mark, Short, SplitError, Violation};
use crate::port::{Cpu, Machine};
use crate::sync::SpinGuard;

/// See the module documentation; made by [`XArray::lock`](super::XArray::lock).
#[must_use = "dropping it unlocks at once"]
pub struct Locked<'a, C: Cpu> {
    pub(super) tree: &'a Tree,
    pub(super) held: SpinGuard<'a, Held, C>,
}

impl<C: Cpu> Locked<'_, C> {
    /// The entry at `index`.
    #[inline]
    #[must_use]
    pub fn load(&self, index: u64) -> Entry {
        self.tree.load(&*self.held, index)
    }

    /// Makes `entry` stand at `index` and gives what stood there. Nothing, stored, erases.
    ///
    /// # Errors
    /// [`Short`]; nothing has changed then.
    #[inline(always)]
    pub fn store<M: Machine>(
        &mut self,
        index: u64,
        entry: Entry,
        stock: &mut Stock<'_, '_, '_, M>,
    ) -> Result<Entry, Short> {
        if entry.is_null() {
            return Ok(self.erase(index, stock));
        }
        self.tree.store(&self.held, index, 0, entry, &mut stock.nodes)
    }

    /// Makes `entry` stand for all indices that agree with `index` but for the lowest `order` bits. It has every mark
    /// that what it replaces had. Where an entry stands for more indices than that, all of it is replaced. Gives what
    /// stood at `index`. Nothing, stored, erases; `order` is below 64.
    ///
    /// # Errors
    /// [`Short`]; nothing has changed then.
    pub fn store_order<M: Machine>(
        &mut self,
        index: u64,
        order: u32,
        entry: Entry,
        stock: &mut Stock<'_, '_, '_, M>,
    ) -> Result<Entry, Short> {
        let order = order.min(u64::BITS - 1);
        if entry.is_null() {
            let (old, first) = (self.load(index), index & !super::tree::low_bits(order));
            self.erase_range(first, first | super::tree::low_bits(order), stock);
            return Ok(old);
        }
        self.tree.store(&self.held, index, order, entry, &mut stock.nodes)
    }

    /// How many nodes a store of `order` at `index` needs at most.
    pub(super) fn missing(&self, index: u64, order: u32) -> usize {
        self.tree.missing(&self.held, index, order)
    }

    /// Makes nothing stand at `index` and at all other indices of its entry. Gives the entry.
    #[inline]
    pub fn erase<M: Machine>(&mut self, index: u64, stock: &mut Stock<'_, '_, '_, M>) -> Entry {
        self.tree.erase(&self.held, index, &mut stock.nodes)
    }

    /// Erases every entry that stands for an index in `first..=last`.
    pub fn erase_range<M: Machine>(&mut self, first: u64, last: u64, stock: &mut Stock<'_, '_, '_, M>) {
        let mut index = first;
        while let Some(found) = self.find(index, last, None) {
            self.erase(found.index, stock);
            let Some(next) = found.last().checked_add(1) else { return };
            index = next;
        }
    }

    /// Takes a node with nothing but values out, with all of them.
    pub(super) fn delete<M: Machine>(&mut self, node: &Node, stock: &mut Stock<'_, '_, '_, M>) {
        self.tree.delete(&self.held, node, &mut stock.nodes);
    }

    /// Erases all.
    pub(super) fn clear<M: Machine>(&mut self, stock: &mut Stock<'_, '_, '_, M>) {
        self.tree.clear(&self.held, &mut stock.nodes);
    }

    /// Divides the entry at `index` into entries of `order` that are equal to it, marks included. Does nothing if it
    /// is no larger (Linux `xas_split`).
    ///
    /// # Errors
    /// [`SplitError`]; nothing has changed then.
    pub fn split<M: Machine>(
        &mut self,
        index: u64,
        order: u32,
        stock: &mut Stock<'_, '_, '_, M>,
    ) -> Result<(), SplitError> {
        self.tree.split(&self.held, index, order, &mut stock.nodes)
    }

    /// The first entry that stands for an index in `first..=last`, and has the mark if one is asked for.
    #[must_use]
    pub fn find(&self, first: u64, last: u64, mark: Option<Mark>) -> Option<Found> {
        self.tree.find(&*self.held, first, last, mark)
    }

    /// Whether the entry at `index` has the mark.
    #[must_use]
    pub fn has_mark(&self, index: u64, mark: Mark) -> bool {
        self.tree.has_mark(&*self.held, index, mark)
    }

    /// Gives the entry at `index`, if there is one, a mark.
    pub fn set_mark(&mut self, index: u64, mark: Mark) {
        self.tree.change_mark(&self.held, index, mark, Change::Set);
    }

    /// Takes a mark away from the entry at `index`.
    pub fn clear_mark(&mut self, index: u64, mark: Mark) {
        self.tree.change_mark(&self.held, index, mark, Change::Clear);
    }

    /// Gives every entry in `first..=last` that has the mark `from` the mark `to`, up to `limit` of them. Gives how
    /// many, and where to go on if the limit was reached (Linux `tag_pages_for_writeback`).
    pub fn tag_range(
        &mut self,
        first: u64,
        last: u64,
        from: Mark,
        to: Mark,
        limit: u64,
    ) -> (u64, Option<u64>) {
        self.tree.tag_range(&self.held, (first, last), from, to, limit)
    }

    /// Checks all invariants and counts.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn verify(&self) -> Result<Census, Violation> {
        self.tree.verify(&self.held)
    }
}
