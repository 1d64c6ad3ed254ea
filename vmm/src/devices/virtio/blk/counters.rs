//! What the host counts of one disk, readable from any thread while the machine runs.
//!
//! Owns: the counters, the latencies and the last requests. Stays outside: when they move (`device`).
//! Invariants: an operation counts once, when its outcome is known and before the guest can see
//! it, so a guest that compares its own counters with these never finds itself ahead.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::super::lock;
use super::flight::Flight;
use super::histogram::Histogram;

/// Requests that the log remembers.
const LOG_LENGTH: usize = 256;

/// Kinds of requests that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Data from the disk.
    Read,
    /// Data to the disk.
    Write,
    /// Completed writes made stable.
    Flush,
    /// Sectors given back.
    Discard,
    /// Sectors set to zero.
    WriteZeroes,
}

impl RequestKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Flush, Self::Discard, Self::WriteZeroes];

    /// A word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::WriteZeroes => "write_zeroes",
        }
    }
}

/// A request that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When the disk got it, since the disk was made.
    pub at: Duration,
    /// What it was.
    pub kind: RequestKind,
    /// First sector; 0 for a flush.
    pub sector: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// From the time the disk got it until its answer.
    pub took: Duration,
    /// Whether it succeeded.
    pub ok: bool,
}

/// Counters of one disk since the machine started. A device reset does not clear them.
#[derive(Debug)]
pub struct BlkCounters {
    start: Instant,
    operations: [Operation; RequestKind::ALL.len()],
    errors: AtomicU64,
    log: Mutex<VecDeque<LogEntry>>,
}

/// The counters of one kind.
#[derive(Debug, Default)]
struct Operation {
    count: AtomicU64,
    bytes: AtomicU64,
    times: Histogram,
}

impl Default for BlkCounters {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            operations: Default::default(),
            errors: AtomicU64::new(0),
            log: Mutex::new(VecDeque::with_capacity(LOG_LENGTH)),
        }
    }
}

/// See [`BlkCounters::record`]: one lock and one reading of the clock for many requests.
pub(super) struct Record<'c> {
    counters: &'c BlkCounters,
    log: MutexGuard<'c, VecDeque<LogEntry>>,
    now: Instant,
}

impl Record<'_> {
    /// Counts `flight`, which went well or not.
    pub(super) fn request(&mut self, flight: &Flight, ok: bool) {
        let &Flight { kind, sector, bytes, arrived, .. } = flight;
        let took = self.now.saturating_duration_since(arrived);
        if ok {
            let operation = self.counters.operation(kind);
            add(&operation.count, 1);
            add(&operation.bytes, bytes);
            operation.times.record(took);
        } else {
            self.counters.error();
        }
        let at = arrived.saturating_duration_since(self.counters.start);
        if self.log.len() == LOG_LENGTH {
            self.log.pop_front();
        }
        self.log.push_back(LogEntry { at, kind, sector, bytes, took, ok });
    }
}

/// Adds to a counter that nobody else writes now. An atomic addition would wait for all that was written before, and
/// the guest is looking at that.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
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
    /// Discard requests that succeeded.
    pub discards: u64,
    /// Bytes they gave back.
    pub discard_bytes: u64,
    /// Write-zeroes requests that succeeded.
    pub write_zeroes: u64,
    /// Bytes they set to zero.
    pub write_zeroes_bytes: u64,
    /// Requests of any kind that were answered with an error status.
    pub errors: u64,
}

impl BlkCounters {
    /// The totals now. Requests that complete during the call may be counted in part.
    pub fn totals(&self) -> BlkTotals {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [read, write, flush, discard, zeroes] = &self.operations;
        BlkTotals {
            reads: get(&read.count),
            read_bytes: get(&read.bytes),
            writes: get(&write.count),
            write_bytes: get(&write.bytes),
            flushes: get(&flush.count),
            discards: get(&discard.count),
            discard_bytes: get(&discard.bytes),
            write_zeroes: get(&zeroes.count),
            write_zeroes_bytes: get(&zeroes.bytes),
            errors: get(&self.errors),
        }
    }

    /// Requests of this kind that succeeded, and their bytes.
    pub fn done(&self, kind: RequestKind) -> (u64, u64) {
        let operation = self.operation(kind);
        (operation.count.load(Ordering::Relaxed), operation.bytes.load(Ordering::Relaxed))
    }

    /// How long requests of this kind took, from the time the disk got them; only those that succeeded.
    pub fn latencies(&self, kind: RequestKind) -> &Histogram {
        &self.operation(kind).times
    }

    /// The last requests, oldest first.
    pub fn log(&self) -> Vec<LogEntry> {
        lock(&self.log).iter().copied().collect()
    }

    fn operation(&self, kind: RequestKind) -> &Operation {
        let [read, write, flush, discard, zeroes] = &self.operations;
        match kind {
            RequestKind::Read => read,
            RequestKind::Write => write,
            RequestKind::Flush => flush,
            RequestKind::Discard => discard,
            RequestKind::WriteZeroes => zeroes,
        }
    }

    /// What counts requests that are over at `now`. There is one at a time, and no other counts them.
    pub(super) fn record(&self, now: Instant) -> Record<'_> {
        Record { counters: self, log: lock(&self.log), now }
    }

    /// Counts a request that was refused.
    pub(super) fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }
}
