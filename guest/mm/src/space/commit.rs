//! What has been promised: overcommit accounting (Linux `mm/util.c`, `__vm_enough_memory`).
//!
//! Owns: the sum of promised pages. Invariants: it is the sum of what the contexts were promised; a promise that is
//! refused changes nothing.

use super::{Errno, Mm, OvercommitMode, Usage, Vm};
use crate::mutant::planted;
use crate::port::Machine;
use crate::vma::{Areas, VmFlags, Vma};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

/// See the module documentation. All in pages.
#[derive(Debug, Default)]
pub struct Commit {
    /// Promised (`Committed_AS`).
    committed: AtomicU64,
    /// Base pages in pools of huge pages: they are not there for promises.
    hugetlb: AtomicU64,
    /// Pages of swap.
    swap: AtomicU64,
}

/// What can be promised and what has been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitInfo {
    /// `CommitLimit`, in pages.
    pub limit: u64,
    /// `Committed_AS`, in pages.
    pub committed: u64,
}

impl Commit {
    /// Nothing is promised.
    #[must_use]
    pub const fn new() -> Self {
        Self { committed: AtomicU64::new(0), hugetlb: AtomicU64::new(0), swap: AtomicU64::new(0) }
    }

    /// `pages` more are promised; how many were before.
    pub(super) fn add(&self, pages: u64) -> u64 {
        self.committed.fetch_add(pages, Ordering::Relaxed)
    }

    /// `pages` fewer are promised.
    pub(super) fn sub(&self, pages: u64) {
        self.committed.fetch_sub(pages, Ordering::Relaxed);
    }

    /// Promised pages.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// So many pages can go to swap now.
    pub fn set_swap(&self, pages: u64) {
        self.swap.store(pages, Ordering::Relaxed);
    }

    /// Pools of huge pages have this many base pages now.
    pub fn set_hugetlb(&self, pages: u64) {
        self.hugetlb.store(pages, Ordering::Relaxed);
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// What can be promised, and what has been.
    pub fn commit_info(&self) -> CommitInfo {
        let (ratio, fixed) = (self.settings.overcommit_ratio(), self.settings.overcommit_pages());
        let hugetlb = self.commit.hugetlb.load(Ordering::Relaxed);
        let ram = self.phys.total_managed_pages().saturating_sub(hugetlb);
        let share = if fixed != 0 { fixed } else { ram.saturating_mul(ratio.into()) / 100 };
        let limit = share + self.commit.swap.load(Ordering::Relaxed);
        CommitInfo { limit, committed: self.commit.committed() }
    }

    /// Promises `pages` to `mm`; whether that may be.
    #[must_use = "what is not promised must not be mapped"]
    pub(super) fn charge(&self, mm: &Mm<'p, M>, pages: u64) -> bool {
        let before = self.commit.add(pages);
        if self.would_do(pages, before + pages, mm.counters.usage(Usage::Total)) {
            mm.counters.add_accounted(pages);
            return true;
        }
        self.commit.sub(pages);
        false
    }

    /// Whether `pages` more may be promised to who has mapped `mapped` pages, when all promises are `committed` then.
    pub(super) fn would_do(&self, pages: u64, committed: u64, mapped: u64) -> bool {
        match self.settings.overcommit() {
            OvercommitMode::Always => true,
            OvercommitMode::Guess => {
                let swap = self.commit.swap.load(Ordering::Relaxed);
                pages <= self.phys.total_managed_pages() + swap
            }
            OvercommitMode::Never => {
                let own = (mapped / 32).min(self.settings.user_reserve());
                let kept = self.settings.admin_reserve() + own;
                committed < self.commit_info().limit.saturating_sub(kept)
            }
        }
    }

    /// Promises `wanted` pages to what comes where `pages` are, whose borders are borders of areas: what the areas there
    /// were promised counts for it, and is theirs no more (Linux `__mmap_setup`).
    ///
    /// # Errors
    /// `Enomem`: nothing has changed then.
    pub(super) fn charge_in_place(
        &self,
        mm: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        pages: Range<u64>,
        wanted: u64,
    ) -> Result<(), Errno> {
        let there = areas.iter(pages.clone()).filter(|vma| vma.flags().contains(VmFlags::ACCOUNT));
        let owned: u64 = there.map(Vma::pages).sum();
        if wanted > owned && !self.charge(mm, wanted - owned) {
            return Err(Errno::Enomem);
        }
        if wanted < owned {
            self.uncharge(mm, owned - wanted);
        }
        self.hand_over(areas, pages)
    }

    /// The promises of the areas where `pages` are, whose borders are borders of areas, are somebody else's from now on:
    /// whoever takes the areas away takes no promise back.
    pub(super) fn hand_over(&self, areas: &mut Areas<'p>, pages: Range<u64>) -> Result<(), Errno> {
        self.each_area(areas, pages.start, pages.end, |vma| Ok(vma.flags() - VmFlags::ACCOUNT))
    }

    /// Takes a promise back.
    pub(super) fn uncharge(&self, mm: &Mm<'p, M>, pages: u64) {
        mm.counters.sub_accounted(pages);
        if planted("vm::basic.promise_is_kept") {
            return;
        }
        self.commit.sub(pages);
    }
}
