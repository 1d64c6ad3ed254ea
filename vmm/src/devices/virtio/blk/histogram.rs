//! How long requests took, as a histogram with buckets of 12 to 25 per cent.
//!
//! Owns: the buckets and what is read off them. Stays outside: whose times they are (`counters`).
//! Invariants: every duration has a bucket; a quantile is the upper edge of its bucket, so it never flatters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::counters::add;

/// Buckets for each power of two.
const STEPS: u64 = 4;
/// Buckets in all: 64 powers of two.
const BUCKETS: usize = 64 * STEPS as usize;

/// Counts of durations, readable from any thread.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

/// The bucket of a time in nanoseconds: its power of two and the two bits after the highest.
fn bucket(ns: u64) -> usize {
    let ns = ns.max(STEPS);
    let power = u64::from(ns.ilog2());
    let step = (ns >> (power - 2)) & (STEPS - 1);
    (power * STEPS + step) as usize
}

/// The first time in nanoseconds after bucket `index`.
fn end(index: usize) -> u64 {
    let (power, step) = (index as u64 / STEPS, index as u64 % STEPS);
    // Below 2^67; the last bucket ends beyond all times.
    u64::try_from((u128::from(STEPS + step) + 1) << power >> 2).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Counts one duration. One thread at a time.
    pub fn record(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket(ns)) {
            add(bucket, 1);
        }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The time that at least `permille` thousandths of the durations stayed below; zero without any.
    pub fn quantile(&self, permille: u64) -> Duration {
        let wanted = u128::from(self.count()) * u128::from(permille);
        let mut seen = 0u128;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += u128::from(bucket.load(Ordering::Relaxed));
            if seen > 0 && seen * 1000 >= wanted {
                return Duration::from_nanos(end(index));
            }
        }
        Duration::ZERO
    }

    /// The buckets that are not empty, shortest first: the end of each, and its count.
    pub fn buckets(&self) -> Vec<(Duration, u64)> {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).enumerate();
        counts
            .filter(|&(_, count)| count > 0)
            .map(|(i, count)| (Duration::from_nanos(end(i)), count))
            .collect()
    }
}

#[cfg(test)]
mod tests;
