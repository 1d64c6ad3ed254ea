//! Checks of pages that cost time: failures on purpose, patterns in free memory.
//!
//! Owns: which are on, and what they do before a block is handed out and before it is taken back. Stays outside:
//! finding blocks. Invariants: one word says whether anything is on, and while it is 0 an allocation pays one
//! comparison; while a pattern is on, every free frame of the direct map holds it.
//! Source: Linux `mm/page_alloc.c` (`post_alloc_hook`, `free_pages_prepare`), `mm/page_poison.c`.

mod faults;
mod owner;
mod poison;

use super::{AllocError, GfpFlags, Phys};
use crate::addr::{Order, Pfn};
use crate::fault_inject::FaultConfig;
use crate::frame::{FrameIdx, MigrateType};
use crate::port::{Cpu, Machine, PhysMem};
use crate::sync::Once;
use bitflags::bitflags;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use faults::Faults;
pub use faults::{FailPageAlloc, FailSlab, Injected};
use owner::{CHUNK_FRAMES, CHUNK_ORDER, CHUNKS, DEPTH, Owners, STACKS_ORDER};
pub use owner::{PageOwner, PageUse, Who};
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
        /// Who has each block is recorded (`page_owner=on`).
        const OWNER = 1 << 4;
        /// Free pages are not mapped (`debug_pagealloc=on`).
        const UNMAP = 1 << 5;
        /// Allocations that may wait are reported where interrupts are masked (`debug_atomic_sleep=on`).
        const SLEEP = 1 << 6;
    }
}

/// What the checks have to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageReport {
    /// An allocation or a request was made to fail.
    Injected(Injected),
    /// Somebody wrote to a free page.
    Damage(Damage),
    /// An allocation that may wait was made where nobody may.
    Context(InvalidContext),
}

/// An allocation that may wait was made with interrupts masked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidContext {
    /// Its flags.
    pub gfp: GfpFlags,
    /// Who made it.
    pub who: Who,
}

impl fmt::Display for InvalidContext {
    /// As Linux's `__might_sleep` prints it, after `BUG: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gfp, who: Who { pid, name } } = self;
        write!(
            f,
            "sleeping function called from invalid context, mode:{gfp}\nirqs_disabled(): 1, pid: {pid}, name: {name}"
        )
    }
}

impl fmt::Display for PageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Injected(injected) => injected.fmt(f),
            Self::Damage(damage) => damage.fmt(f),
            Self::Context(context) => context.fmt(f),
        }
    }
}

/// Answers from outside. They may be called with interrupts masked and locks held, and must not allocate.
#[derive(Clone, Copy)]
pub struct PageHooks {
    /// A check has something to say. After damage the page is used all the same if this returns, as in Linux.
    pub report: fn(&PageReport),
    /// Maps a block in the direct map, or takes it out; then no CPU may reach it when this returns.
    pub map: fn(Pfn, Order, bool),
    /// The running task.
    pub task: fn() -> Who,
    /// Nanoseconds since boot.
    pub now_ns: fn() -> u64,
    /// Fills in the callers of whoever allocates, innermost first.
    pub callers: fn(&mut [u64]),
}

impl PageHooks {
    /// Nobody listens.
    pub const SILENT: Self = Self {
        report: |_| {},
        map: |_, _, _| {},
        task: || Who { pid: 0, name: "" },
        now_ns: || 0,
        callers: |_| {},
    };
}

/// See the module documentation.
pub(super) struct Debug {
    on: AtomicU32,
    faults: Faults,
    owners: Owners,
    hooks: Once<PageHooks>,
}

impl Debug {
    /// Nothing is on.
    pub(super) const fn new() -> Self {
        Self {
            on: AtomicU32::new(0),
            faults: Faults::new(),
            owners: Owners::new(),
            hooks: Once::new(PageHooks::SILENT),
        }
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

    fn hooks(&self) -> &PageHooks {
        self.hooks.get().unwrap_or(&PageHooks::SILENT)
    }

    fn report(&self, report: &PageReport) {
        (self.hooks().report)(report);
    }

    /// Records the block of the running task.
    fn own<C: Cpu>(&self, cpu: &C, pfn: Pfn, order: Order, gfp: GfpFlags) {
        let hooks = self.hooks();
        let mut callers = [0; DEPTH];
        (hooks.callers)(&mut callers);
        let stack = self.owners.handle(cpu, &callers);
        self.owners.take(pfn, order, gfp, (hooks.task)(), (hooks.now_ns)(), stack);
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
        if checks.contains(PageChecks::OWNER) && self.prepare_owners().is_err() {
            checks.remove(PageChecks::OWNER);
        }
        if pattern(checks).is_some() || checks.contains(PageChecks::UNMAP) {
            while self.take_in_deferred(u32::MAX) > 0 {}
            self.drain_all_pages();
            self.retire_free(checks);
        }
        self.debug.on.fetch_or(checks.bits(), Relaxed);
    }

    /// Memory for records of all frames and for stacks.
    fn prepare_owners(&self) -> Result<(), AllocError> {
        let (owners, end) = (&self.debug.owners, u64::from(self.layout()?.ground.table.end()));
        for chunk in (0..end.div_ceil(CHUNK_FRAMES) as usize).take(CHUNKS) {
            if !owners.has_chunk(chunk) {
                let memory = self.keep_zeroed(CHUNK_ORDER)?;
                // SAFETY: a zeroed block of that order, which is never freed.
                unsafe { owners.set_chunk(chunk, memory) };
            }
        }
        if !owners.has_stacks() {
            let memory = self.keep_zeroed(STACKS_ORDER)?;
            // SAFETY: as above.
            unsafe { owners.set_stacks(memory) };
        }
        Ok(())
    }

    /// A zeroed block for good.
    fn keep_zeroed(&self, order: Order) -> Result<*mut u8, AllocError> {
        let (pfn, _) = self.alloc_pages(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO, order)?.into_raw();
        self.machine.physmem().ptr(pfn.addr()).map(|at| at.as_ptr()).ok_or(AllocError::OutOfMemory)
    }

    /// Shows the owner of every block that was handed out since records are kept, lowest first.
    pub fn page_owners(&self, visit: &mut dyn FnMut(&PageOwner)) {
        let end = self.layout.get().map_or(0, |layout| layout.ground.table.end());
        (0..end).filter_map(|pfn| self.page_owner(Pfn::from_u32(pfn))).for_each(|owner| visit(&owner));
    }

    /// Shows every stack that has pages now, innermost caller first and filled up with 0, and how many.
    pub fn page_owner_stacks(&self, visit: &mut dyn FnMut(&[u64], u64)) {
        self.debug.owners.stacks(visit);
    }

    /// The owner of the block that starts at a frame, if it was handed out since records are kept.
    pub fn page_owner(&self, pfn: Pfn) -> Option<PageOwner> {
        self.debug.owners.get(pfn)
    }

    /// Whether it is on record what pages were used for.
    #[inline(always)]
    pub(crate) fn keeps_history(&self) -> bool {
        self.debug.is_on() && self.debug.checks().contains(PageChecks::OWNER)
    }

    /// Records what a block was used for that is about to be given back.
    #[cold]
    pub(crate) fn note_use(&self, pfn: Pfn, order: Order, was: PageUse) {
        self.debug.owners.note(pfn, order, was);
    }

    /// What a frame was used for before, the oldest first, since records are kept.
    pub fn page_history(&self, pfn: Pfn) -> impl Iterator<Item = PageUse> {
        self.debug.owners.past(pfn)
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

    /// Says that something that is no allocation was made to fail.
    pub(crate) fn report_injected(&self, name: &'static str, config: FaultConfig) {
        self.debug.report(&PageReport::Injected(Injected { name, config }));
    }

    /// Whether [`Phys::should_failslab`] has to be asked.
    #[inline(always)]
    pub fn are_failures_on(&self) -> bool {
        self.debug.is_on()
    }

    /// Whether an allocation of `bytes` from a cache shall fail; `marked` is a cache with the flag `A`. Reports one that
    /// may not be made here.
    pub fn should_failslab(&self, gfp: GfpFlags, bytes: u32, marked: bool) -> bool {
        self.check_context(gfp);
        let on = self.debug.checks().contains(PageChecks::FAULTS);
        on && self.debug.fails(gfp, self.debug.faults.slab(gfp, bytes, marked))
    }

    /// Whether an allocation of pages shall fail; reports one that may not be made here.
    #[cold]
    #[inline(never)]
    pub(super) fn fails_on_purpose(&self, gfp: GfpFlags, order: Order) -> bool {
        self.check_context(gfp);
        let on = self.debug.checks().contains(PageChecks::FAULTS);
        on && self.debug.fails(gfp, self.debug.faults.page(gfp, order))
    }

    /// Reports an allocation that may wait where nobody may (Linux `might_alloc`).
    fn check_context(&self, gfp: GfpFlags) {
        let may_wait = gfp.contains(GfpFlags::__GFP_DIRECT_RECLAIM);
        if self.debug.checks().contains(PageChecks::SLEEP) && may_wait && !self.machine.cpu().can_wait() {
            let who = (self.debug.hooks().task)();
            self.debug.report(&PageReport::Context(InvalidContext { gfp, who }));
        }
    }

    /// Does to a new block what the checks that are on ask for.
    #[cold]
    #[inline(never)]
    pub(super) fn hand_out_checked(&self, idx: FrameIdx, order: Order, gfp: GfpFlags) {
        let checks = self.debug.checks();
        let (memory, pfn) = (self.machine.physmem(), idx.pfn());
        if checks.contains(PageChecks::UNMAP) {
            (self.debug.hooks().map)(pfn, order, true);
        }
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
        if checks.contains(PageChecks::OWNER) {
            self.debug.own(self.machine.cpu(), pfn, order, gfp);
        }
    }

    /// Makes frames that are about to be free what the checks expect. Nothing happens to a block that the allocator
    /// would refuse.
    #[cold]
    #[inline(never)]
    pub(super) fn retire(&self, pfn: Pfn, order: Order) {
        let checks = self.debug.checks();
        if self.check_free(pfn, order).is_ok() {
            if checks.contains(PageChecks::OWNER) {
                self.debug.owners.give(pfn);
            }
            // SAFETY: the caller gives the block back, so it is nobody's but ours.
            unsafe { self.retire_block(checks, pfn, order) };
        }
    }

    /// The same for the last frames of a block of which only `pages` are kept. What is kept are blocks of falling
    /// order, each with an owner of its own.
    #[cold]
    #[inline(never)]
    pub(super) fn retire_tail(&self, idx: FrameIdx, order: Order, pages: u64) {
        let checks = self.debug.checks();
        for pfn in (pages..order.pages()).filter_map(|n| idx.pfn().checked_add(n)) {
            // SAFETY: the block was just allocated, and its tail is given back before anybody knows it.
            unsafe { self.retire_block(checks, pfn, Order::ZERO) };
        }
        if checks.contains(PageChecks::OWNER) {
            self.debug.owners.cut(idx.pfn(), order.pages() - pages);
        }
        let (mut at, mut left) = (idx.pfn(), pages);
        while let Some(part) =
            left.checked_ilog2().and_then(Order::new).filter(|_| checks.contains(PageChecks::OWNER))
        {
            self.debug.owners.split(idx.pfn(), at, part);
            left -= part.pages();
            at = at.checked_add(part.pages()).unwrap_or(at);
        }
    }

    /// Records that a block is blocks of one page from now on.
    pub(super) fn owner_splits(&self, pfn: Pfn, order: Order) {
        if self.debug.is_on() && self.debug.checks().contains(PageChecks::OWNER) {
            for at in (0..order.pages()).rev().filter_map(|n| pfn.checked_add(n)) {
                self.debug.owners.split(pfn, at, Order::ZERO);
            }
        }
    }

    /// Makes the frames of a block what free frames are.
    ///
    /// # Safety
    /// The block is nobody's but the caller's.
    unsafe fn retire_block(&self, checks: PageChecks, pfn: Pfn, order: Order) {
        if let Some(byte) = pattern(checks) {
            // SAFETY: promised by the caller.
            unsafe { poison::fill(self.machine.physmem(), pfn, order, byte) };
        }
        if checks.contains(PageChecks::UNMAP) {
            (self.debug.hooks().map)(pfn, order, false);
        }
    }

    /// Makes every block on the lists of every zone what the checks expect.
    fn retire_free(&self, checks: PageChecks) {
        let Some(layout) = self.layout.get() else { return };
        for zone in self.populated_zones() {
            let inner = zone.lock(self.machine.cpu());
            for (order, mt) in Order::all().flat_map(|order| MigrateType::ALL.map(|mt| (order, mt))) {
                for idx in inner.lists.list(order, mt).iter(&layout.ground.table) {
                    // SAFETY: the block is free, and its zone is locked.
                    unsafe { self.retire_block(checks, idx.pfn(), order) };
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
