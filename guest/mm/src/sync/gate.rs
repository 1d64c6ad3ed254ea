//! Somewhere to wait for a while, unless somebody lets all who wait go on (Linux's `pgdat->reclaim_wait`).

use crate::port::Cpu;
use core::sync::atomic::{AtomicU32, Ordering};

/// See the module documentation. Nobody is told of what happened before he came.
#[derive(Default)]
pub(crate) struct Gate {
    waiting: AtomicU32,
    opened: AtomicU32,
}

impl Gate {
    /// Nobody waits.
    pub(crate) const fn new() -> Self {
        Self { waiting: AtomicU32::new(0), opened: AtomicU32::new(0) }
    }

    fn key(&self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for at most `ns` nanoseconds. Only where this code can wait.
    pub(crate) fn wait(&self, cpu: &impl Cpu, ns: u64) {
        let seen = self.opened.load(Ordering::Acquire);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        cpu.wait_on_for(self.key(), ns, &mut || self.opened.load(Ordering::Acquire) != seen);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Lets all who wait go on.
    pub(crate) fn open(&self, cpu: &impl Cpu) {
        if self.waiting() != 0 {
            self.opened.fetch_add(1, Ordering::Release);
            cpu.wake(self.key());
        }
    }
}
