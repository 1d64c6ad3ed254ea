//! How much memory a context has: Linux's `mm_counter` and the `Vm*` lines of `/proc/PID/status`.
//!
//! Invariants: resident pages change with the entries that make them so, other counts under the write lock.

use core::sync::atomic::{AtomicU64, Ordering};

/// Kinds of pages that a context has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rss {
    /// Anonymous (`RssAnon`).
    Anon,
    /// Of files (`RssFile`).
    File,
    /// Shared memory (`RssShmem`).
    Shmem,
    /// In swap, so not resident (`VmSwap`).
    Swap,
}

/// Kinds of mapped pages, resident or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usage {
    /// All of them (`VmSize`).
    Total,
    /// Those that are locked (`VmLck`).
    Locked,
    /// Private and writable (`VmData`).
    Data,
    /// Code (`VmExe`).
    Exec,
    /// Stacks (`VmStk`).
    Stack,
}

/// See the module documentation. All in pages.
#[derive(Debug, Default)]
pub struct Counters {
    rss: [AtomicU64; 4],
    usage: [AtomicU64; 5],
    /// The most that was ever resident (`VmHWM`).
    high: AtomicU64,
    /// The most that was ever mapped (`VmPeak`).
    peak: AtomicU64,
    /// Page tables (`VmPTE`).
    tables: AtomicU64,
    /// Huge pages from the pool (`HugetlbPages`), in base pages.
    hugetlb: AtomicU64,
    /// What has been promised to it.
    accounted: AtomicU64,
    min_flt: AtomicU64,
    maj_flt: AtomicU64,
}

impl Counters {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rss: [const { AtomicU64::new(0) }; 4],
            usage: [const { AtomicU64::new(0) }; 5],
            high: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            tables: AtomicU64::new(0),
            hugetlb: AtomicU64::new(0),
            accounted: AtomicU64::new(0),
            min_flt: AtomicU64::new(0),
            maj_flt: AtomicU64::new(0),
        }
    }

    fn rss_of(&self, kind: Rss) -> &AtomicU64 {
        let [anon, file, shmem, swap] = &self.rss;
        match kind {
            Rss::Anon => anon,
            Rss::File => file,
            Rss::Shmem => shmem,
            Rss::Swap => swap,
        }
    }

    fn usage_of(&self, kind: Usage) -> &AtomicU64 {
        let [total, locked, data, exec, stack] = &self.usage;
        match kind {
            Usage::Total => total,
            Usage::Locked => locked,
            Usage::Data => data,
            Usage::Exec => exec,
            Usage::Stack => stack,
        }
    }

    /// Pages of a kind.
    #[must_use]
    pub fn rss(&self, kind: Rss) -> u64 {
        self.rss_of(kind).load(Ordering::Relaxed)
    }

    /// All resident pages (`VmRSS`).
    #[must_use]
    pub fn resident(&self) -> u64 {
        [Rss::Anon, Rss::File, Rss::Shmem].into_iter().map(|kind| self.rss(kind)).sum()
    }

    /// `n` pages more are resident.
    #[inline]
    pub(crate) fn add_rss(&self, kind: Rss, n: u64) {
        self.rss_of(kind).fetch_add(n, Ordering::Relaxed);
    }

    /// `n` pages fewer are resident. The mark of the most there ever were is set before the number falls, as in Linux.
    #[inline]
    pub(crate) fn sub_rss(&self, kind: Rss, n: u64) {
        self.high.fetch_max(self.resident(), Ordering::Relaxed);
        self.rss_of(kind).fetch_sub(n, Ordering::Relaxed);
    }

    /// The most that was ever resident.
    #[must_use]
    pub fn high_water(&self) -> u64 {
        self.high.load(Ordering::Relaxed).max(self.resident())
    }

    /// Mapped pages of a kind.
    #[must_use]
    pub fn usage(&self, kind: Usage) -> u64 {
        self.usage_of(kind).load(Ordering::Relaxed)
    }

    /// The most that was ever mapped.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(super) fn add_usage(&self, kind: Usage, n: u64) {
        let now = self.usage_of(kind).fetch_add(n, Ordering::Relaxed) + n;
        if kind == Usage::Total {
            self.peak.fetch_max(now, Ordering::Relaxed);
        }
    }

    pub(super) fn sub_usage(&self, kind: Usage, n: u64) {
        self.usage_of(kind).fetch_sub(n, Ordering::Relaxed);
    }

    /// Pages of its page tables, the root included.
    #[must_use]
    pub fn tables(&self) -> u64 {
        self.tables.load(Ordering::Relaxed)
    }

    pub(super) fn add_table(&self) {
        self.tables.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sub_table(&self) {
        self.tables.fetch_sub(1, Ordering::Relaxed);
    }

    /// Base pages of huge pages from the pool.
    #[must_use]
    pub fn hugetlb(&self) -> u64 {
        self.hugetlb.load(Ordering::Relaxed)
    }

    pub(crate) fn add_hugetlb(&self, n: u64) {
        self.hugetlb.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn sub_hugetlb(&self, n: u64) {
        self.hugetlb.fetch_sub(n, Ordering::Relaxed);
    }

    /// Pages that have been promised to it.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.accounted.load(Ordering::Relaxed)
    }

    pub(super) fn add_accounted(&self, n: u64) {
        self.accounted.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn sub_accounted(&self, n: u64) {
        self.accounted.fetch_sub(n, Ordering::Relaxed);
    }

    /// Faults without and with input or output.
    #[must_use]
    pub fn faults(&self) -> (u64, u64) {
        (self.min_flt.load(Ordering::Relaxed), self.maj_flt.load(Ordering::Relaxed))
    }

    /// The fault that is being handled, which was counted, needs input.
    pub(crate) fn count_major(&self) {
        self.maj_flt.fetch_add(1, Ordering::Relaxed);
        self.min_flt.fetch_sub(1, Ordering::Relaxed);
    }

    /// One fault more.
    #[inline]
    pub(crate) fn count_fault(&self) {
        self.min_flt.fetch_add(1, Ordering::Relaxed);
    }
}
