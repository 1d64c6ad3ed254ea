//! Nodes that wait for the end of a grace period.
//!
//! Owns: a list that every CPU adds to without a lock. Stays outside: grace periods. Invariants: the list is taken as
//! a whole, so no node can leave it and come back between two steps of one who adds.

use super::node::{Node, NodeList};
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use core::ptr::{NonNull, null_mut};

/// See the module documentation.
pub(super) struct Limbo {
    first: AtomicPtr<Node>,
    len: AtomicU64,
}

impl Limbo {
    #[cfg(not(all(loom, test)))]
    pub(super) const fn new() -> Self {
        Self { first: AtomicPtr::new(null_mut()), len: AtomicU64::new(0) }
    }

    #[cfg(all(loom, test))]
    pub(super) fn new() -> Self {
        Self { first: AtomicPtr::new(null_mut()), len: AtomicU64::new(0) }
    }

    /// How many there are, roughly while others add.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Relaxed)
    }

    /// Adds all of `list`.
    pub(super) fn append(&self, list: &mut NodeList) {
        let list = core::mem::replace(list, NodeList::EMPTY);
        let Some(last) = NonNull::new(list.last) else { return };
        // SAFETY: the list owns its nodes.
        let link = unsafe { &last.as_ref().link };
        // First the count: it never goes below 0.
        self.len.fetch_add(list.len as u64, Relaxed);
        let mut first = self.first.load(Relaxed);
        loop {
            link.store(first, Relaxed);
            match self.first.compare_exchange_weak(first, list.first, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Takes all.
    pub(super) fn take(&self) -> NodeList {
        let mut list = NodeList { first: self.first.swap(null_mut(), Acquire), last: null_mut(), len: 0 };
        let mut at = list.first;
        while let Some(node) = NonNull::new(at) {
            list.last = at;
            list.len += 1;
            // SAFETY: the list that was taken owns its nodes.
            at = unsafe { node.as_ref() }.link.load(Relaxed);
        }
        self.len.fetch_sub(list.len as u64, Relaxed);
        list
    }
}
