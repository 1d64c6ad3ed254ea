//! Failures on purpose: when an operation that can fail shall fail.
//!
//! Owns: the decision, from an interval, a chance, a space that passes first and a number of times. Stays outside:
//! what fails and which callers are spared. Invariants: without a chance nothing ever fails; the same seed and calls
//! give the same failures. Source: Linux `lib/fault-inject.c` (`should_fail_ex`).

use core::fmt;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

/// When to fail: the four numbers of `failslab=` and its like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultConfig {
    /// Of so many calls at most one fails.
    pub interval: u32,
    /// The chance of a failure in percent; 0 switches it off.
    pub probability: u32,
    /// Bytes or pages that pass before the first failure.
    pub space: u32,
    /// The most failures; -1 is no limit.
    pub times: i32,
}

impl FaultConfig {
    /// Nothing fails (Linux `FAULT_ATTR_INITIALIZER`).
    pub const OFF: Self = Self { interval: 1, probability: 0, space: 0, times: 1 };
}

impl fmt::Display for FaultConfig {
    /// As in Linux's message of a failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interval, probability, space, times } = self;
        write!(f, "interval {interval}, probability {probability}, space {space}, times {times}")
    }
}

/// One thing that can be made to fail.
#[derive(Debug)]
pub struct FaultAttr {
    interval: AtomicU32,
    probability: AtomicU32,
    space: AtomicU32,
    times: AtomicI32,
    count: AtomicU32,
    random: AtomicU64,
}

impl FaultAttr {
    /// Nothing fails.
    #[must_use]
    pub const fn new() -> Self {
        let FaultConfig { interval, probability, space, times } = FaultConfig::OFF;
        Self {
            interval: AtomicU32::new(interval),
            probability: AtomicU32::new(probability),
            space: AtomicU32::new(space),
            times: AtomicI32::new(times),
            count: AtomicU32::new(0),
            random: AtomicU64::new(0),
        }
    }

    /// Starts over with these numbers.
    pub fn configure(&self, config: FaultConfig) {
        // Off while the other numbers change.
        self.probability.store(0, Relaxed);
        self.interval.store(config.interval, Relaxed);
        self.space.store(config.space, Relaxed);
        self.times.store(config.times, Relaxed);
        self.count.store(0, Relaxed);
        self.random.store(0, Relaxed);
        self.probability.store(config.probability, Relaxed);
    }

    /// The numbers as they are now: space and times go down.
    #[must_use]
    pub fn config(&self) -> FaultConfig {
        FaultConfig {
            interval: self.interval.load(Relaxed),
            probability: self.probability.load(Relaxed),
            space: self.space.load(Relaxed),
            times: self.times.load(Relaxed),
        }
    }

    /// Whether any failure can come.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.probability.load(Relaxed) != 0 && self.times.load(Relaxed) != 0
    }

    /// Whether this call, which is about `size` bytes or pages, shall fail.
    pub fn should_fail(&self, size: u32) -> bool {
        if !self.is_on() {
            return false;
        }
        let pass = |space: u32| (space > size).then(|| space - size);
        if self.space.fetch_update(Relaxed, Relaxed, pass).is_ok() {
            return false;
        }
        let interval = self.interval.load(Relaxed);
        if interval > 1 && !self.count.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(interval) {
            return false;
        }
        if self.probability.load(Relaxed) <= self.percent() {
            return false;
        }
        // At 0 another CPU took the last one.
        let down = |times: i32| (times != 0).then(|| if times > 0 { times - 1 } else { times });
        self.times.fetch_update(Relaxed, Relaxed, down).is_ok()
    }

    /// 0 to 99 (splitmix64).
    fn percent(&self) -> u32 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.random.fetch_add(GAMMA, Relaxed).wrapping_add(GAMMA);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % 100) as u32
    }
}

impl Default for FaultAttr {
    fn default() -> Self {
        Self::new()
    }
}
