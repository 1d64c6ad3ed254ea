//! What a disk has done, counted as the monitor counts it: a request when it has succeeded, or as an error.

use super::wire::Kind;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::port::{IoOp, Ledger, Purpose};

/// The counters of one disk.
#[derive(Default)]
pub struct Counters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    write_bytes: AtomicU64,
    flushes: AtomicU64,
    discards: AtomicU64,
    discard_bytes: AtomicU64,
    errors: AtomicU64,
    kicks: AtomicU64,
    interrupts: AtomicU64,
    /// What those who asked say that it was.
    pub ledger: Ledger,
}

/// One reading of a disk's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Reads that succeeded.
    pub reads: u64,
    /// Bytes they brought.
    pub read_bytes: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Bytes they took.
    pub write_bytes: u64,
    /// Flushes that succeeded.
    pub flushes: u64,
    /// Discards that succeeded.
    pub discards: u64,
    /// Bytes they gave back.
    pub discard_bytes: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Times that the device was told of requests.
    pub kicks: u64,
    /// Interrupts that asked us to look.
    pub interrupts: u64,
}

impl Counters {
    /// Counts a request that has succeeded.
    pub fn success(&self, kind: Kind, bytes: u64) {
        let (operations, total) = match kind {
            Kind::Read => (&self.reads, Some(&self.read_bytes)),
            Kind::Write => (&self.writes, Some(&self.write_bytes)),
            Kind::Flush => (&self.flushes, None),
            Kind::Discard => (&self.discards, Some(&self.discard_bytes)),
            Kind::Id => return,
        };
        operations.fetch_add(1, Ordering::Relaxed);
        if let Some(total) = total {
            total.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Books a request that has succeeded and is nobody's who would.
    pub fn book_other(&self, kind: Kind, bytes: u64) {
        match kind {
            Kind::Read => self.ledger.book(Purpose::Other, IoOp::Read, 0, bytes, true),
            Kind::Write => self.ledger.book(Purpose::Other, IoOp::Write, 0, bytes, true),
            Kind::Flush | Kind::Discard | Kind::Id => {}
        }
    }

    /// Counts a request that has failed.
    pub fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a notification of the device.
    pub fn kick(&self) {
        self.kicks.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an interrupt.
    pub fn interrupt(&self) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
    }

    /// The totals now.
    pub fn totals(&self) -> Totals {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            reads: get(&self.reads),
            read_bytes: get(&self.read_bytes),
            writes: get(&self.writes),
            write_bytes: get(&self.write_bytes),
            flushes: get(&self.flushes),
            discards: get(&self.discards),
            discard_bytes: get(&self.discard_bytes),
            errors: get(&self.errors),
            kicks: get(&self.kicks),
            interrupts: get(&self.interrupts),
        }
    }
}
