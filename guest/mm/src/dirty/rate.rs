//! Slowing writers down, so that what is dirty stays below its limit (Linux `balance_dirty_pages`).
//!
//! Owns: the rate at which disks take pages, as measured, and how long a writer pauses. Simpler than Linux: the rate is that of
//! all disks together, and a writer's own rate is not measured: it pauses as long as the disks need for what it has written,
//! longer the nearer the limit is. At the limit it waits until there is room, so the limit holds whatever the rate is.

use super::DirtyLimits;
use crate::port::Cpu;
use crate::sync::SpinLock;
use core::sync::atomic::{AtomicU64, Ordering};

/// The longest pause (Linux `MAX_PAUSE`).
const MAX_PAUSE: u64 = 200_000_000;
/// How often the rate is measured (Linux `BANDWIDTH_INTERVAL`).
const MEASURE_EVERY: u64 = 200_000_000;
/// What is assumed before the first measurement: 100 MiB a second (Linux `INIT_BW`).
const FIRST_RATE: u64 = 25_600;
const SECOND: u64 = 1_000_000_000;

/// The rate of the disks.
struct Rate {
    pages_a_second: u64,
    at: u64,
    written: u64,
}

/// See the module documentation.
pub struct Throttle {
    rate: SpinLock<Rate>,
    /// Pages written since somebody looked.
    since: AtomicU64,
    /// Times that a writer paused.
    paused: AtomicU64,
}

impl Throttle {
    /// Nothing was measured.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rate: SpinLock::new(Rate { pages_a_second: FIRST_RATE, at: 0, written: 0 }),
            since: AtomicU64::new(0),
            paused: AtomicU64::new(0),
        }
    }

    /// A page more was written; how many since [`Throttle::looked`].
    pub(crate) fn one_more(&self) -> u64 {
        self.since.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Somebody looks whether he has to wait.
    pub(crate) fn looked(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// A writer pauses.
    pub(crate) fn pauses(&self) {
        self.paused.fetch_add(1, Ordering::Relaxed);
    }

    /// How often writers paused.
    pub fn paused(&self) -> u64 {
        self.paused.load(Ordering::Relaxed)
    }

    /// Pages that disks take in a second, when `written` have been written in all until `now`.
    pub(crate) fn rate(&self, cpu: &impl Cpu, now: u64, written: u64) -> u64 {
        let mut rate = self.rate.lock(cpu);
        let passed = now.saturating_sub(rate.at);
        if passed >= MEASURE_EVERY {
            let measured = (written - rate.written).saturating_mul(SECOND) / passed;
            // A pause in which nothing was to be written says nothing.
            if passed < SECOND && measured != 0 {
                rate.pages_a_second = (3 * rate.pages_a_second + measured) / 4;
            }
            (rate.at, rate.written) = (now, written);
        }
        rate.pages_a_second.max(1)
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a writer of `pages` pages pauses at a rate of the disks, in nanoseconds: twice as long as they need halfway to the
/// limit, and more behind that.
pub(crate) fn pause(limits: &DirtyLimits, dirty: u64, pages: u64, rate: u64) -> u64 {
    let room = limits.limit.saturating_sub(limits.freerun()).max(1);
    let over = dirty.saturating_sub(limits.freerun()).min(room);
    let needed = pages.saturating_mul(SECOND) / rate;
    (needed.saturating_mul(4 * over) / room).min(MAX_PAUSE)
}
