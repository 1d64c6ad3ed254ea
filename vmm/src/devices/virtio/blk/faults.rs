//! Disks that are slow or fail on purpose, to see what a guest makes of it.
//!
//! Owns: what is injected ([`FaultPlan`]) and the state of it for one disk ([`Injector`]). Stays outside: how a plan
//! is written down (`config::disk`), and how a verdict is carried out (`flight`).
//! Invariants: without a plan nothing changes and nothing is counted here.

use std::time::{Duration, Instant};

/// What a disk does wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Every request takes at least this long. Requests wait side by side.
    pub latency: Option<Duration>,
    /// Bytes per second that the disk moves at most; above 0.
    pub bytes_per_second: Option<u64>,
    /// Sectors whose reads fail.
    pub bad_reads: Vec<u64>,
    /// Sectors whose writes fail; a write that touches one writes nothing.
    pub bad_writes: Vec<u64>,
    /// This write, counted from 1, puts the first half of its sectors on the disk and fails, as when power is lost.
    pub torn_write: Option<u64>,
    /// This request, counted from 1, of whatever kind, does nothing and fails.
    pub fail_nth: Option<u64>,
}

/// What a request is to the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It reads sectors.
    Read,
    /// It changes sectors: by data, zeroes or discarding.
    Write,
    /// It moves nothing.
    Flush,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Pass,
    /// It is not done, and fails.
    Fail,
    /// Only so many bytes of it are done, and it fails.
    Torn(u64),
}

/// The faults of one disk, as far as they have come.
#[derive(Debug)]
pub struct Injector {
    plan: FaultPlan,
    requests: u64,
    writes: u64,
    /// When a disk of limited speed is done with what it had so far.
    free_at: Option<Instant>,
}

impl Injector {
    /// Nothing has happened yet.
    pub fn new(plan: FaultPlan) -> Self {
        Self { plan, requests: 0, writes: 0, free_at: None }
    }

    /// The fate of a request for `bytes` bytes from `sector` on.
    pub fn judge(&mut self, kind: Kind, sector: u64, bytes: u64) -> Verdict {
        self.requests += 1;
        if kind == Kind::Write {
            self.writes += 1;
        }
        let touched = |sectors: &[u64]| {
            let count = bytes.div_ceil(super::SECTOR_SIZE);
            sectors.iter().any(|&bad| bad.checked_sub(sector).is_some_and(|distance| distance < count))
        };
        let bad = match kind {
            Kind::Read => touched(&self.plan.bad_reads),
            Kind::Write => touched(&self.plan.bad_writes),
            Kind::Flush => false,
        };
        if bad || self.plan.fail_nth == Some(self.requests) {
            return Verdict::Fail;
        }
        if kind == Kind::Write && self.plan.torn_write == Some(self.writes) {
            return Verdict::Torn(bytes / super::SECTOR_SIZE / 2 * super::SECTOR_SIZE);
        }
        Verdict::Pass
    }

    /// When a request for `bytes` bytes that came at `now` may be answered; `None` for at once.
    pub fn release(&mut self, now: Instant, bytes: u64) -> Option<Instant> {
        let done = self.plan.bytes_per_second.map(|rate| {
            let time = Duration::from_nanos(duration_ns(bytes, rate));
            let done = self.free_at.map_or(now, |free| free.max(now)) + time;
            self.free_at = Some(done);
            done
        });
        match (done, self.plan.latency) {
            (None, None) => None,
            (done, latency) => Some(done.unwrap_or(now) + latency.unwrap_or_default()),
        }
    }
}

/// Nanoseconds that `bytes` take at `rate` bytes per second.
fn duration_ns(bytes: u64, rate: u64) -> u64 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    // A disk of one byte per second can owe centuries; a century is enough.
    ns.min(3_000_000_000_000_000_000) as u64
}

#[cfg(test)]
mod tests;
