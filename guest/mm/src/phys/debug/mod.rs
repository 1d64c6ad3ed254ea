//! Checks of pages that cost time: failures on purpose, patterns in free memory.
//!
//! Owns: which are on, and what they do before a block is handed out and before it is taken back. Stays outside:
//! finding blocks. Invariants: one word says whether anything is on, and while it is 0 an allocation pays one
//! comparison; while a pattern is on, every free frame of the direct map holds it.
//! Source: Linux `mm/page_alloc.c` (`post_alloc_hook`, `free_pages_prepare`), `mm/page_poison.c`.

mod faults;
mod poison;

use super::layout::Layout;
use super::{AllocError, GfpFlags, Phys, Step};
use crate::addr::{NodeId, Order, Pfn};
use crate::frame::{FrameIdx, MigrateType};
use crate::port::Machine;
use crate::sync::Once;
use bitflags::bitflags;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use faults::Faults;
pub use faults::{FailPageAlloc, FailSlab, Injected};
pub use poison::Damage;
use poison::PAGE_POISON;

bitflags! {
    /// What is done to every page.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageChecks: u32 {
        /// Some allocations fail on purpose. Set by the rules for that, not by hand.
        const FAULTS = 1 << 0;
        /// Free pages hold 0xaa, and are checked when they are allocated (`page_poison=`).
        const POISON = 1 << 1;
        /// Pages are zeroed when they are allocated (`init_on_alloc=`).
        const INIT_ON_ALLOC = 1 << 2;
        /// Pages are zeroed when they are freed (`init_on_free=`).
        const INIT_ON_FREE = 1 << 3;
    }
}

/// What the checks have to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageReport {
    /// An allocation was made to fail.
    Injected(Injected),
    /// Somebody wrote to a free page.
    Damage(Damage),
}

impl fmt::Display for PageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected(injected) => injected.fmt(f),
            Self::Damage(damage) => damage.fmt(f),
        }
    }
}

/// Answers from outside. They may be called with interrupts masked and locks held, and must not allocate.
#[derive(Clone, Copy)]
pub struct PageHooks {
    /// A check has something to say. After damage the page is used all the same if this returns, as in Linux.
    pub report: fn(&PageReport),
}

impl PageHooks {
    /// Nobody listens.
    pub const SILENT: Self = Self { report: |_| {} };
}

/// See the module documentation.
pub(super) struct Debug {
    on: AtomicU32,
    faults: Faults,
    hooks: Once<PageHooks>,
}

impl Debug {
    /// Nothing is on.
    pub(super) const fn new() -> Self {
        Self { on: AtomicU32::new(0), faults: Faults::new(), hooks: Once::new(PageHooks::SILENT) }
    }

    /// Whether anything is on.
    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Relaxed) != 0
    }

    fn checks(&self) -> PageChecks {
        PageChecks::from_bits_truncate(self.on.load(Relaxed))
    }

    fn settle_faults(&self) {
        let bit = PageChecks::FAULTS.bits();
        if self.faults.is_on() {
            self.on.fetch_or(bit, Relaxed);
        } else {
            self.on.fetch_and(!bit, Relaxed);
        }
    }

    /// Whether the allocation fails on purpose; says so if it may warn.
    fn fails(&self, gfp: GfpFlags, injected: Option<Injected>) -> bool {
        let Some(injected) = injected else { return false };
        if !gfp.contains(GfpFlags::__GFP_NOWARN) {
            self.report(&PageReport::Injected(injected));
        }
        true
    }

    fn report(&self, report: &PageReport) {
        if let Some(hooks) = self.hooks.get() {
            (hooks.report)(report);
        }
    }
}

impl<M: Machine> Phys<M> {
    /// Says where reports go. Once; later calls change nothing.
    pub fn set_page_hooks(&self, hooks: PageHooks) {
        // A second caller is told nothing new: the first hooks stay.
        let _ = self.debug.hooks.init(|slot| {
            *slot = hooks;
            Ok::<(), ()>(())
        });
    }

    /// Switches checks on for good and makes the free memory what they expect. After boot, while no other CPU
    /// allocates. Poison comes before zeroing, as in Linux: with both, only the first is on.
    pub fn enable_page_checks(&self, wanted: PageChecks) {
        let mut checks = wanted.difference(PageChecks::FAULTS);
        if checks.contains(PageChecks::POISON) {
            checks.remove(PageChecks::INIT_ON_ALLOC | PageChecks::INIT_ON_FREE);
        }
        if let (Some(byte), Some(layout)) = (pattern(checks), self.layout.get()) {
            while self.take_in_deferred(u32::MAX) > 0 {}
            self.fill_free(layout, byte);
        }
        self.debug.on.fetch_or(checks.bits(), Relaxed);
    }

    /// What is on.
    pub fn page_checks(&self) -> PageChecks {
        self.debug.checks()
    }

    /// Sets `fail_page_alloc`.
    pub fn set_fail_page_alloc(&self, rules: FailPageAlloc) {
        self.debug.faults.set_page(rules);
        self.debug.settle_faults();
    }

    /// Sets `failslab`.
    pub fn set_failslab(&self, rules: FailSlab) {
        self.debug.faults.set_slab(rules);
        self.debug.settle_faults();
    }

    /// Lets the `nth` allocation from now fail, of pages or objects, whoever makes it; 0 ends that. Returns how many
    /// the count before had left: 0 if it has come to its end.
    pub fn set_fail_nth(&self, nth: u64) -> u64 {
        let left = self.debug.faults.set_nth(nth);
        self.debug.settle_faults();
        left
    }

    /// How many failures were made.
    pub fn injected_failures(&self) -> u64 {
        self.debug.faults.made()
    }

    /// Whether an allocation of `bytes` from a cache shall fail; `marked` is a cache with the flag `A`.
    #[inline(always)]
    pub fn should_failslab(&self, gfp: GfpFlags, bytes: u32, marked: bool) -> bool {
        self.debug.is_on() && self.failslab(gfp, bytes, marked)
    }

    #[cold]
    #[inline(never)]
    fn failslab(&self, gfp: GfpFlags, bytes: u32, marked: bool) -> bool {
        let on = self.debug.checks().contains(PageChecks::FAULTS);
        on && self.debug.fails(gfp, self.debug.faults.slab(gfp, bytes, marked))
    }

    /// As `find`, with all that is on.
    #[cold]
    #[inline(never)]
    pub(super) fn find_checked(
        &self,
        layout: &Layout,
        node: NodeId,
        gfp: GfpFlags,
        order: Order,
        trace: &mut impl FnMut(Step),
    ) -> Result<FrameIdx, AllocError> {
        let checks = self.debug.checks();
        if checks.contains(PageChecks::FAULTS) && self.debug.fails(gfp, self.debug.faults.page(gfp, order)) {
            return Err(AllocError::OutOfMemory);
        }
        let idx = self.find_plain(layout, node, gfp.difference(GfpFlags::__GFP_ZERO), order, trace)?;
        let (memory, pfn) = (self.machine.physmem(), idx.pfn());
        if checks.contains(PageChecks::POISON) {
            // SAFETY: the block was just allocated and nobody knows it yet.
            if let Some(damage) = unsafe { poison::damage(memory, pfn, order, PAGE_POISON) } {
                self.debug.report(&PageReport::Damage(damage));
            }
        }
        let zero = gfp.contains(GfpFlags::__GFP_ZERO) || checks.contains(PageChecks::INIT_ON_ALLOC);
        if zero && !checks.contains(PageChecks::INIT_ON_FREE) {
            self.zero(idx, order);
        }
        Ok(idx)
    }

    /// Makes frames that are about to be free what the checks expect. Nothing happens to a block that the allocator
    /// would refuse.
    #[cold]
    #[inline(never)]
    pub(super) fn retire(&self, pfn: Pfn, order: Order) {
        if let Some(byte) = pattern(self.debug.checks())
            && self.check_free(pfn, order).is_ok()
        {
            // SAFETY: the caller gives the block back, so it is nobody's but ours.
            unsafe { poison::fill(self.machine.physmem(), pfn, order, byte) };
        }
    }

    /// The same for the last frames of a block of which only `pages` are kept.
    #[cold]
    #[inline(never)]
    pub(super) fn retire_tail(&self, idx: FrameIdx, order: Order, pages: u64) {
        let Some(byte) = pattern(self.debug.checks()) else { return };
        for pfn in (pages..order.pages()).filter_map(|n| idx.pfn().checked_add(n)) {
            // SAFETY: the block was just allocated, and its tail is given back before anybody knows it.
            unsafe { poison::fill(self.machine.physmem(), pfn, Order::ZERO, byte) };
        }
    }

    /// Fills every block on the lists of every zone.
    fn fill_free(&self, layout: &Layout, byte: u8) {
        for zone in self.populated_zones() {
            let inner = zone.lock(self.machine.cpu());
            for (order, mt) in Order::all().flat_map(|order| MigrateType::ALL.map(|mt| (order, mt))) {
                for idx in inner.lists.list(order, mt).iter(&layout.ground.table) {
                    // SAFETY: the block is free, and its zone is locked.
                    unsafe { poison::fill(self.machine.physmem(), idx.pfn(), order, byte) };
                }
            }
        }
    }
}

/// What free frames hold.
fn pattern(checks: PageChecks) -> Option<u8> {
    if checks.contains(PageChecks::POISON) {
        Some(PAGE_POISON)
    } else {
        checks.contains(PageChecks::INIT_ON_FREE).then_some(0)
    }
}
