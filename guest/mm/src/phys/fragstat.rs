//! Internal fragmentation: how much more is granted than was asked for.
//!
//! Owns: the counters per order and the allocation by page count that feeds them (row "a 3-page request uses 4").

use super::error::AllocError;
use super::{Frames, GfpFlags, Phys};
use crate::addr::{Order, PAGE_SIZE};
use crate::port::Machine;
use core::sync::atomic::{AtomicU64, Ordering};

/// What was asked for and granted with blocks of one order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fragmentation {
    /// Pages asked for.
    pub requested: u64,
    /// Pages granted.
    pub granted: u64,
}

impl Fragmentation {
    /// Bytes that were granted, but not asked for.
    #[must_use]
    pub fn wasted_bytes(&self) -> u64 {
        (self.granted - self.requested) * PAGE_SIZE
    }
}

/// The counters of one order.
#[derive(Debug)]
struct Counter {
    requested: AtomicU64,
    granted: AtomicU64,
}

/// The counters of all orders.
#[derive(Debug)]
pub(super) struct Fragstat {
    orders: [Counter; Order::COUNT],
}

impl Fragstat {
    pub(super) const fn new() -> Self {
        Self {
            orders: [const { Counter { requested: AtomicU64::new(0), granted: AtomicU64::new(0) } };
                Order::COUNT],
        }
    }

    fn record(&self, order: Order, pages: u64) {
        if let Some(counter) = self.orders.get(order.index()) {
            counter.requested.fetch_add(pages, Ordering::Relaxed);
            counter.granted.fetch_add(order.pages(), Ordering::Relaxed);
        }
    }
}

impl<M: Machine> Phys<M> {
    /// Allocates the smallest block that holds `pages` and counts what that wastes.
    ///
    /// # Errors
    /// [`AllocError`]; [`AllocError::BadSize`] for 0 or more than 4 MiB.
    pub fn alloc_pages_for(&self, gfp: GfpFlags, pages: u64) -> Result<Frames<'_>, AllocError> {
        let order = Order::covering(pages).ok_or(AllocError::BadSize)?;
        let frames = self.alloc_pages(gfp, order)?;
        self.fragstat.record(order, pages);
        Ok(frames)
    }

    /// What [`Phys::alloc_pages_for`] has granted with blocks of `order`.
    pub fn fragmentation(&self, order: Order) -> Fragmentation {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.fragstat.orders.get(order.index()).map_or(Fragmentation::default(), |counter| {
            // Granted second: a record in between then never makes it the smaller one.
            let requested = load(&counter.requested);
            Fragmentation { requested, granted: load(&counter.granted).max(requested) }
        })
    }
}
