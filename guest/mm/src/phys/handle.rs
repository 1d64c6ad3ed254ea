//! Owned blocks of frames.
//!
//! Owns: the handles and the count of frames that were dropped instead of freed. Invariants: a handle is the only
//! one to its frames: it is neither `Copy` nor `Clone`, and freeing takes it away. A dropped handle is a bug that
//! is counted, not a panic: the frames stay allocated.

use crate::addr::{Order, Pfn};
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many frames were lost by dropping their handles.
#[derive(Debug, Default)]
pub(super) struct Leaks(AtomicU64);

impl Leaks {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn pages(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An allocated block of 2^order frames.
#[must_use = "a dropped block is leaked: free it or keep its number with `into_raw`"]
#[derive(Debug)]
pub struct Frames<'a> {
    pfn: Pfn,
    order: Order,
    leaks: &'a Leaks,
}

impl<'a> Frames<'a> {
    /// The caller hands over a block that nobody else owns.
    #[inline(always)]
    pub(super) fn new(pfn: Pfn, order: Order, leaks: &'a Leaks) -> Self {
        Self { pfn, order, leaks }
    }

    /// The first frame.
    #[must_use]
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// The order of the block.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// Gives up the handle: whoever keeps the numbers owns the block now.
    #[inline(always)]
    #[must_use = "the numbers are all that is left of the block"]
    pub fn into_raw(self) -> (Pfn, Order) {
        let this = ManuallyDrop::new(self);
        (this.pfn, this.order)
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        self.leaks.0.fetch_add(self.order.pages(), Ordering::Relaxed);
    }
}

/// An allocated run of exactly as many frames as were asked for: allocated blocks of falling order, one after the
/// other, that can be taken off from the front.
#[must_use = "a dropped run is leaked: free it or take its blocks"]
#[derive(Debug)]
pub struct ExactFrames<'a> {
    pfn: Pfn,
    pages: u64,
    leaks: &'a Leaks,
}

impl<'a> ExactFrames<'a> {
    /// The caller hands over a run that was trimmed to `pages`.
    pub(super) fn new(pfn: Pfn, pages: u64, leaks: &'a Leaks) -> Self {
        Self { pfn, pages, leaks }
    }

    /// The first frame that is left.
    #[must_use]
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// How many frames are left.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Gives up the handle: whoever keeps the numbers owns the run now.
    #[must_use = "the numbers are all that is left of the run"]
    pub fn into_raw(self) -> (Pfn, u64) {
        let this = ManuallyDrop::new(self);
        (this.pfn, this.pages)
    }

    /// Its blocks: first frame and order of each.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (Pfn, Order)> + use<> {
        let (mut next, mut pages) = (Some(self.pfn), self.pages);
        core::iter::from_fn(move || {
            let (pfn, order) = (next?, first_order(pages)?);
            pages -= order.pages();
            next = pfn.checked_add(order.pages());
            Some((pfn, order))
        })
    }

    /// Takes off the first and largest block.
    pub fn take_block(&mut self) -> Option<Frames<'a>> {
        let order = first_order(self.pages)?;
        let block = Frames::new(self.pfn, order, self.leaks);
        self.pages -= order.pages();
        self.pfn = self.pfn.checked_add(order.pages())?;
        Some(block)
    }
}

/// The order of the first and largest block of a run of `pages`.
fn first_order(pages: u64) -> Option<Order> {
    Some(Order::new(pages.checked_ilog2()?).unwrap_or(Order::MAX))
}

impl Drop for ExactFrames<'_> {
    fn drop(&mut self) {
        self.leaks.0.fetch_add(self.pages, Ordering::Relaxed);
    }
}
