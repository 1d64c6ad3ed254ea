//! Which allocations fail on purpose (`fail_page_alloc=`, `failslab=`, `fail_nth`).
//!
//! Owns: the two attributes, whom they spare, and the counter of `fail_nth`. Invariant: an allocation that must not
//! fail never does. Source: Linux `mm/fail_page_alloc.c`, `mm/failslab.c`, `lib/fault-inject.c`.

use super::super::GfpFlags;
use crate::addr::Order;
use crate::fault_inject::{FaultAttr, FaultConfig};
use crate::mutant::planted;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// `fail_page_alloc`: when, and whom it spares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailPageAlloc {
    /// When.
    pub config: FaultConfig,
    /// Smaller blocks are spared (`min-order`).
    pub min_order: Order,
    /// Allocations that may be outside the direct map are spared (`ignore-gfp-highmem`).
    pub ignore_highmem: bool,
    /// Allocations that may wait are spared (`ignore-gfp-wait`).
    pub ignore_reclaim: bool,
}

impl FailPageAlloc {
    /// Linux's defaults: off, and only what is likely to fail anyway.
    pub const LINUX: Self = Self {
        config: FaultConfig::OFF,
        min_order: match Order::new(1) {
            Some(order) => order,
            None => Order::ZERO,
        },
        ignore_highmem: true,
        ignore_reclaim: true,
    };
}

/// `failslab`: when, and whom it spares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailSlab {
    /// When.
    pub config: FaultConfig,
    /// Allocations that may wait are spared (`ignore-gfp-wait`).
    pub ignore_reclaim: bool,
    /// Caches without the flag `A` are spared (`cache-filter`).
    pub marked_only: bool,
}

impl FailSlab {
    /// Linux's defaults: off, and only those that cannot wait.
    pub const LINUX: Self = Self { config: FaultConfig::OFF, ignore_reclaim: true, marked_only: false };
}

/// A failure that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Injected {
    /// `fail_page_alloc`, `failslab` or `fail_make_request`.
    pub name: &'static str,
    /// The numbers after it.
    pub config: FaultConfig,
}

impl fmt::Display for Injected {
    /// Linux's text (`fail_dump`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAULT_INJECTION: forcing a failure.\nname {}, {}", self.name, self.config)
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Faults {
    /// The allocation, counted from now, that fails; 0 for none.
    nth: AtomicU64,
    made: AtomicU64,
    page: FaultAttr,
    page_min_order: AtomicU32,
    page_ignore_highmem: AtomicBool,
    page_ignore_reclaim: AtomicBool,
    slab: FaultAttr,
    slab_ignore_reclaim: AtomicBool,
    slab_marked_only: AtomicBool,
}

impl Faults {
    pub(super) const fn new() -> Self {
        let (page, slab) = (FailPageAlloc::LINUX, FailSlab::LINUX);
        Self {
            nth: AtomicU64::new(0),
            made: AtomicU64::new(0),
            page: FaultAttr::new(),
            page_min_order: AtomicU32::new(page.min_order.get()),
            page_ignore_highmem: AtomicBool::new(page.ignore_highmem),
            page_ignore_reclaim: AtomicBool::new(page.ignore_reclaim),
            slab: FaultAttr::new(),
            slab_ignore_reclaim: AtomicBool::new(slab.ignore_reclaim),
            slab_marked_only: AtomicBool::new(slab.marked_only),
        }
    }

    pub(super) fn set_page(&self, rules: FailPageAlloc) {
        self.page_min_order.store(rules.min_order.get(), Relaxed);
        self.page_ignore_highmem.store(rules.ignore_highmem, Relaxed);
        self.page_ignore_reclaim.store(rules.ignore_reclaim, Relaxed);
        self.page.configure(rules.config);
    }

    pub(super) fn set_slab(&self, rules: FailSlab) {
        self.slab_ignore_reclaim.store(rules.ignore_reclaim, Relaxed);
        self.slab_marked_only.store(rules.marked_only, Relaxed);
        self.slab.configure(rules.config);
    }

    pub(super) fn set_nth(&self, nth: u64) -> u64 {
        self.nth.swap(nth, Relaxed)
    }

    pub(super) fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// Whether any failure can come.
    pub(super) fn is_on(&self) -> bool {
        self.nth.load(Relaxed) != 0 || self.page.is_on() || self.slab.is_on()
    }

    /// Whether this is the allocation that `fail_nth` counts down to. While it counts, nothing else fails.
    fn is_nth(&self) -> Option<bool> {
        self.nth.fetch_update(Relaxed, Relaxed, |nth| nth.checked_sub(1)).ok().map(|before| before == 1)
    }

    fn decide(&self, name: &'static str, attr: &FaultAttr, spared: bool, size: u32) -> Option<Injected> {
        let spared = spared && !planted("page_checks.nobody_is_spared");
        let fails = self.is_nth().unwrap_or_else(|| !spared && attr.should_fail(size));
        fails.then(|| {
            self.made.fetch_add(1, Relaxed);
            Injected { name, config: attr.config() }
        })
    }

    pub(super) fn page(&self, gfp: GfpFlags, order: Order) -> Option<Injected> {
        if gfp.contains(GfpFlags::__GFP_NOFAIL) {
            return None;
        }
        let spared = order.get() < self.page_min_order.load(Relaxed)
            || self.page_ignore_highmem.load(Relaxed) && gfp.contains(GfpFlags::__GFP_HIGHMEM)
            || self.page_ignore_reclaim.load(Relaxed) && gfp.contains(GfpFlags::__GFP_DIRECT_RECLAIM);
        self.decide("fail_page_alloc", &self.page, spared, order.pages() as u32)
    }

    pub(super) fn slab(&self, gfp: GfpFlags, bytes: u32, marked: bool) -> Option<Injected> {
        if gfp.contains(GfpFlags::__GFP_NOFAIL) {
            return None;
        }
        let spared = self.slab_marked_only.load(Relaxed) && !marked
            || self.slab_ignore_reclaim.load(Relaxed) && gfp.contains(GfpFlags::__GFP_DIRECT_RECLAIM);
        self.decide("failslab", &self.slab, spared, bytes)
    }
}
