//! What is known of dirty memory as a whole: limits, the rate of the disks, who is wanted (Linux `struct wb_domain`).
//!
//! Owns: these numbers. Stays outside: pages, and who writes them (`writeback`).
//!
//! | file | job |
//! |---|---|
//! | `limits` | how much may be dirty |
//! | `pool` | how many threads write behind, where they are common to all disks |
//! | `rate` | how fast disks take pages, and how long a writer pauses |

mod limits;
mod pool;
mod rate;

use core::sync::atomic::{AtomicU64, Ordering};
pub use limits::{DirtyLimits, DirtySettings};
pub use pool::Pool;
pub use rate::Throttle;
pub(crate) use rate::pause;

/// See the module documentation.
#[derive(Default)]
pub struct Dirty {
    /// What can be set.
    pub settings: DirtySettings,
    /// How writers are slowed down.
    pub throttle: Throttle,
    /// Goes up when flushers should look at once; what they sleep on.
    wanted: AtomicU64,
    /// The same when they should write everything.
    wanted_all: AtomicU64,
}

impl Dirty {
    /// Nothing is dirty.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            settings: DirtySettings::new(),
            throttle: Throttle::new(),
            wanted: AtomicU64::new(0),
            wanted_all: AtomicU64::new(0),
        }
    }

    /// Flushers should look at once.
    pub(crate) fn want(&self) {
        self.wanted.fetch_add(1, Ordering::Release);
    }

    /// Flushers should write everything.
    pub(crate) fn want_all(&self) {
        self.wanted_all.fetch_add(1, Ordering::Release);
    }

    /// How often that was so.
    pub fn wanted_all(&self) -> u64 {
        self.wanted_all.load(Ordering::Acquire)
    }

    /// How often flushers should have looked at once. Whoever has looked at everything sleeps until it changes.
    pub fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Acquire)
    }

    /// What flushers sleep on.
    pub fn key(&self) -> u64 {
        core::ptr::from_ref(&self.wanted).addr() as u64
    }
}
