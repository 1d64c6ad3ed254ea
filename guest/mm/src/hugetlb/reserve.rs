//! Promises: pages that a mapping will be given when it is touched (Linux `hugetlb_reserve_pages`,
//! `gather_surplus_pages`).
//!
//! Owns: the number of reserved pages. Invariants: they are free, and given only to who has reserved them; a page that
//! was made beyond the size of the pool leaves it when it is free again.

use super::{HugePage, HugePool, Inner};
use crate::addr::NodeId;
use crate::port::Machine;

impl<'p, M: Machine> HugePool<'p, M> {
    /// Sets how many pages more than asked for there may be while they are in use (`nr_overcommit_hugepages`).
    pub fn set_overcommit(&self, pages: u64) {
        self.with(|inner| inner.overcommit = pages);
    }

    /// How many pages more than asked for there may be.
    pub fn overcommit(&self) -> u64 {
        self.with(|inner| inner.overcommit)
    }

    fn with<R>(&self, work: impl FnOnce(&mut Inner) -> R) -> R {
        work(&mut self.inner.lock(self.phys.machine().cpu()))
    }

    /// Promises `count` pages, made for it if that is allowed; whether there are so many. May take memory from the
    /// zones, so nothing is locked.
    #[must_use = "what is not promised may not be there"]
    pub fn reserve(&self, count: u64) -> bool {
        loop {
            let is_done = self.with(|inner| {
                if inner.reserved + count <= inner.free() {
                    inner.reserved += count;
                    return Some(true);
                }
                if inner.surplus >= inner.overcommit {
                    return Some(false);
                }
                inner.surplus += 1;
                None
            });
            if let Some(is_done) = is_done {
                return is_done;
            }
            if !self.for_a_node(|node| self.grow(node)) {
                self.with(|inner| inner.surplus -= 1);
                return false;
            }
        }
    }

    /// Takes the promise of `count` pages back. Surplus pages that are free then go back to the zones.
    pub fn unreserve(&self, count: u64) {
        self.with(|inner| inner.reserved = inner.reserved.saturating_sub(count));
        while self.with(|inner| inner.surplus > 0) {
            if !self.for_a_node(|node| self.shrink(node)) {
                return;
            }
            self.with(|inner| inner.surplus = inner.surplus.saturating_sub(1));
        }
    }

    /// Takes a page that was promised, near `node`.
    pub fn take_reserved(&self, node: NodeId) -> Option<HugePage> {
        // Others take free pages by a promise of their own, so this one's page is there.
        let page = self.take(node)?;
        self.with(|inner| inner.reserved = inner.reserved.saturating_sub(1));
        Some(page)
    }

    /// Takes a page that is promised to nobody, near `node`.
    pub fn take_free(&self, node: NodeId) -> Option<HugePage> {
        if !self.reserve(1) {
            return None;
        }
        let page = self.take_reserved(node);
        if page.is_none() {
            self.unreserve(1);
        }
        page
    }

    /// Takes a page back that a mapping had: a surplus one leaves the pool.
    pub fn give_back(&self, page: HugePage) {
        self.give(page);
        self.unreserve(0);
    }
}
