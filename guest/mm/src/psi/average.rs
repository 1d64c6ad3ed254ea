//! Averages over 10, 60 and 300 seconds, in fixed point (Linux `calc_avgs`, `update_averages`).
//!
//! A sample is taken every two seconds, or later: periods in which nobody looked count as such without any pressure, and
//! the rest of the time as the last one.

use super::cpu::Times;
use super::{KINDS, Kind};

/// Two seconds: the length of a sample.
const PERIOD: u64 = 2_000_000_000;
/// One, in fixed point with 11 bits (`FIXED_1`).
const ONE: u64 = 1 << 11;
/// What is left of an average after a period: `ONE / e^(2 s / 10 s)`, and the same for 60 and 300 seconds.
const DECAY: [u64; 3] = [1677, 1981, 2034];

/// A percentage with two digits behind the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share {
    /// Whole percents.
    pub percent: u64,
    /// Hundredths of one.
    pub hundredths: u64,
}

/// What is shown of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pressure {
    /// Over the last 10, 60 and 300 seconds.
    pub averages: [Share; 3],
    /// Of all time, in microseconds.
    pub total: u64,
}

#[derive(Clone, Copy)]
struct Sum {
    /// Of all time, in nanoseconds.
    total: u64,
    /// As much of it as is in the averages.
    seen: u64,
    averages: [u64; 3],
}

/// See the module documentation.
pub(super) struct Averages {
    sums: [Sum; KINDS],
    last: u64,
    next: u64,
}

/// The average after a period with `percent` (Linux `calc_load`). It rounds away from what it comes from.
fn decay(average: u64, by: u64, percent: u64) -> u64 {
    let mixed = average * by + percent * (ONE - by);
    if percent >= average { mixed.div_ceil(ONE) } else { mixed / ONE }
}

/// `by` to the power of `n`, in fixed point (Linux `fixed_power_int`).
fn power(mut by: u64, mut n: u64) -> u64 {
    let mut result = ONE;
    while n != 0 {
        if n & 1 != 0 {
            result = (result * by + ONE / 2) / ONE;
        }
        n >>= 1;
        by = (by * by + ONE / 2) / ONE;
    }
    result
}

impl Averages {
    pub(super) const NEW: Self =
        Self { sums: [const { Sum { total: 0, seen: 0, averages: [0; 3] } }; KINDS], last: 0, next: PERIOD };

    /// Takes in what CPUs have counted, each by how busy it was (Linux `collect_percpu_times`).
    pub(super) fn collect(&mut self, cpus: impl Iterator<Item = Times>) {
        let (mut weighted, mut busy) = ([0_u128; KINDS], 0_u128);
        for times in cpus {
            for (sum, time) in weighted.iter_mut().zip(times.kinds) {
                *sum += u128::from(time) * u128::from(times.busy);
            }
            busy += u128::from(times.busy);
        }
        for (sum, weighted) in self.sums.iter_mut().zip(weighted) {
            sum.total += (weighted / busy.max(1)) as u64;
        }
    }

    /// Brings the averages up to `now`, if a period is over.
    pub(super) fn update(&mut self, now: u64) {
        if now < self.next {
            return;
        }
        let missed = (now - self.next) / PERIOD;
        self.next += (1 + missed) * PERIOD;
        let period = now.saturating_sub(self.last + missed * PERIOD).max(1);
        self.last = now;
        for sum in &mut self.sums {
            // Times of CPUs are taken one after the other, so a sum can be a little too long.
            let sample = (sum.total - sum.seen).min(period);
            sum.seen += sample;
            let percent = sample * 100 / period * ONE;
            for (average, by) in sum.averages.iter_mut().zip(DECAY) {
                if missed != 0 {
                    *average = decay(*average, power(by, missed), 0);
                }
                *average = decay(*average, by, percent);
            }
        }
    }

    /// Nanoseconds of a kind.
    pub(super) fn total(&self, kind: Kind) -> u64 {
        let [some, full] = &self.sums;
        match kind {
            Kind::Some => some.total,
            Kind::Full => full.total,
        }
    }

    pub(super) fn pressure(&self) -> [Pressure; KINDS] {
        let share = |average: u64| Share { percent: average / ONE, hundredths: average % ONE * 100 / ONE };
        self.sums.map(|sum| Pressure { averages: sum.averages.map(share), total: sum.total / 1000 })
    }
}
