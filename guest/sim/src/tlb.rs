//! Simulated TLBs.

use mm::addr::VirtAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The TLBs of one machine.
#[derive(Default)]
pub struct Tlb {
    flushes: AtomicU64,
}

impl Tlb {
    /// How many flushes there were.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }
}

impl mm::port::Tlb for Tlb {
    fn flush_range(&self, _start: VirtAddr, _pages: u64) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    fn flush_all(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }
}
