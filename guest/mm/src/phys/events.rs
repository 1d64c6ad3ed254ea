//! What happens to the pages of a zone, counted where it happens and added up when somebody looks.
//!
//! Owns: the kinds of events and a set of counters. Each CPU has a set for each zone, and a zone one more for CPUs
//! that have none yet. Invariants: a CPU's set is written by that CPU alone with interrupts masked, so counting
//! needs no locked instruction. Source: Linux `mm/vmstat.c` (`vm_event_item`, `numa_stat_item`).

use core::sync::atomic::{AtomicU64, Ordering};

/// What is counted for each zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Pages handed out (`pgalloc_*`).
    PgAlloc,
    /// Pages taken back (`pgfree`).
    PgFree,
    /// An allocation got what it wanted: the preferred node, which is the CPU's own. Counts as hit and local.
    HitLocal,
    /// An allocation came from the node that it preferred (`numa_hit`).
    NumaHit,
    /// An allocation that preferred another node came from here (`numa_miss`).
    NumaMiss,
    /// An allocation that preferred this node came from another (`numa_foreign`).
    NumaForeign,
    /// An interleaved allocation came from the node that it was meant for (`interleave_hit`).
    NumaInterleave,
    /// An allocation came from the node of its CPU (`local_node`).
    NumaLocal,
    /// An allocation came from a node that is not its CPU's (`other_node`).
    NumaOther,
    /// An allocation had to wait for memory (`allocstall_*`).
    AllocStall,
}

impl Event {
    const COUNT: usize = 10;
}

/// One set of counters.
#[derive(Debug, Default)]
pub(super) struct Events([AtomicU64; Event::COUNT]);

impl Events {
    /// Nothing has happened.
    pub(super) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Event::COUNT])
    }

    #[inline(always)]
    fn counter(&self, event: Event) -> &AtomicU64 {
        // SAFETY: the array has one counter for each variant.
        unsafe { self.0.get_unchecked(event as usize) }
    }

    /// Counts `n` events in a set that only the caller writes: a plain addition.
    #[inline(always)]
    pub(super) fn add(&self, event: Event, n: u64) {
        let counter = self.counter(event);
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Counts `n` events in a set that several CPUs write.
    pub(super) fn add_shared(&self, event: Event, n: u64) {
        self.counter(event).fetch_add(n, Ordering::Relaxed);
    }

    /// How often it happened; the two names of [`Event::HitLocal`] include it.
    pub(super) fn count(&self, event: Event) -> u64 {
        let count = |event| self.counter(event).load(Ordering::Relaxed);
        match event {
            Event::NumaHit | Event::NumaLocal => count(event).wrapping_add(count(Event::HitLocal)),
            event => count(event),
        }
    }
}
