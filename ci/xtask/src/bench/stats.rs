//! Minimum, median and maximum of times.

use std::fmt;
use std::time::Duration;

/// The spread of some samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// The smallest.
    pub min: Duration,
    /// The middle one, or the upper of the two.
    pub median: Duration,
    /// The largest.
    pub max: Duration,
}

impl Spread {
    /// The spread of `samples`, or `None` without any.
    pub fn of(mut samples: Vec<Duration>) -> Option<Self> {
        samples.sort_unstable();
        let median = *samples.get(samples.len() / 2)?;
        Some(Self { min: *samples.first()?, median, max: *samples.last()? })
    }
}

/// In milliseconds, three numbers in columns.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.2} {:>8.2} {:>8.2}", ms(self.min), ms(self.median), ms(self.max))
    }
}

/// A time in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
