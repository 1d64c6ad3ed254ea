//! What the host counts of one disk, readable from any thread while the machine runs.
//!
//! Owns: the counters. Stays outside: when they move (`device`).
//! Invariants: an operation counts once, when its outcome is known and before the guest can see
//! it, so a guest that compares its own counters with these never finds itself ahead.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one disk since the machine started. A device reset does not clear them.
#[derive(Debug, Default)]
pub struct BlkCounters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    write_bytes: AtomicU64,
    flushes: AtomicU64,
    errors: AtomicU64,
}

/// One reading of [`BlkCounters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlkTotals {
    /// Read requests that succeeded.
    pub reads: u64,
    /// Bytes they brought into the guest.
    pub read_bytes: u64,
    /// Write requests that succeeded.
    pub writes: u64,
    /// Bytes they took from the guest.
    pub write_bytes: u64,
    /// Flush requests that succeeded.
    pub flushes: u64,
    /// Requests of any kind that were answered with an error status.
    pub errors: u64,
}

impl BlkCounters {
    /// The totals now. Requests that complete during the call may be counted in part.
    pub fn totals(&self) -> BlkTotals {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BlkTotals {
            reads: get(&self.reads),
            read_bytes: get(&self.read_bytes),
            writes: get(&self.writes),
            write_bytes: get(&self.write_bytes),
            flushes: get(&self.flushes),
            errors: get(&self.errors),
        }
    }

    pub(super) fn read(&self, bytes: u64) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn write(&self, bytes: u64) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.write_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn flush(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }
}
