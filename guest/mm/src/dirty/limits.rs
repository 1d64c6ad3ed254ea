//! How much may be dirty, as it is set (Linux `domain_dirty_limits`).

use core::sync::atomic::{AtomicU64, Ordering};

/// What can be set while the machine runs (`vm.dirty_*`).
pub struct DirtySettings {
    ratio: AtomicU64,
    background_ratio: AtomicU64,
    bytes: AtomicU64,
    background_bytes: AtomicU64,
    expire_ns: AtomicU64,
    interval_ns: AtomicU64,
}

/// Nanoseconds of a centisecond.
const CENTISECOND: u64 = 10_000_000;

impl DirtySettings {
    /// Linux's defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ratio: AtomicU64::new(20),
            background_ratio: AtomicU64::new(10),
            bytes: AtomicU64::new(0),
            background_bytes: AtomicU64::new(0),
            expire_ns: AtomicU64::new(3000 * CENTISECOND),
            interval_ns: AtomicU64::new(500 * CENTISECOND),
        }
    }

    /// The share of memory, in percent, at which writers wait and at which flushers begin.
    pub fn set_ratios(&self, limit: u64, background: u64) {
        self.ratio.store(limit, Ordering::Relaxed);
        self.background_ratio.store(background, Ordering::Relaxed);
    }

    /// The same in bytes; 0 for the share.
    pub fn set_bytes(&self, limit: u64, background: u64) {
        self.bytes.store(limit, Ordering::Relaxed);
        self.background_bytes.store(background, Ordering::Relaxed);
    }

    /// The age at which something is written, and how often flushers look, in hundredths of a second; 0 for never.
    pub fn set_times(&self, expire: u64, interval: u64) {
        self.expire_ns.store(expire.saturating_mul(CENTISECOND), Ordering::Relaxed);
        self.interval_ns.store(interval.saturating_mul(CENTISECOND), Ordering::Relaxed);
    }

    /// The age at which something is written.
    pub fn expire_ns(&self) -> u64 {
        self.expire_ns.load(Ordering::Relaxed)
    }

    /// How often flushers look; `None` for never.
    pub fn interval_ns(&self) -> Option<u64> {
        Some(self.interval_ns.load(Ordering::Relaxed)).filter(|&ns| ns != 0)
    }

    /// The limits where so many pages could be dirty.
    #[must_use]
    pub fn limits(&self, dirtyable: u64) -> DirtyLimits {
        let pages = |bytes: &AtomicU64, ratio: &AtomicU64| match bytes.load(Ordering::Relaxed) {
            0 => dirtyable.saturating_mul(ratio.load(Ordering::Relaxed)) / 100,
            bytes => bytes.div_ceil(crate::addr::PAGE_SIZE),
        };
        let limit = pages(&self.bytes, &self.ratio);
        let background = pages(&self.background_bytes, &self.background_ratio);
        // Who begins to write only when others wait already would be too late.
        let background = if background >= limit { limit / 2 } else { background };
        DirtyLimits { background, limit }
    }
}

impl Default for DirtySettings {
    fn default() -> Self {
        Self::new()
    }
}

/// In pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirtyLimits {
    /// Flushers begin.
    pub background: u64,
    /// Writers wait.
    pub limit: u64,
}

impl DirtyLimits {
    /// Below this nobody is slowed down (Linux `dirty_freerun_ceiling`).
    #[must_use]
    pub const fn freerun(&self) -> u64 {
        (self.background + self.limit) / 2
    }
}
