//! How long the phases of a start take, for `--stats`.

use std::fmt;
use std::time::{Duration, Instant};

/// The phases so far.
#[derive(Debug)]
pub struct Phases {
    start: Instant,
    last: Instant,
    durations: Vec<(&'static str, Duration)>,
}

impl Phases {
    /// Starts the clock.
    pub fn start() -> Self {
        let start = Instant::now();
        Self { start, last: start, durations: Vec::new() }
    }

    /// Ends the phase `name`, which began when the previous one ended.
    pub fn mark(&mut self, name: &'static str) {
        let now = Instant::now();
        self.durations.push((name, now - self.last));
        self.last = now;
    }

    /// Every phase with its duration, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.durations.iter().copied()
    }

    /// From the start of the clock to the end of the last phase.
    pub fn total(&self) -> Duration {
        self.last - self.start
    }
}

/// One `time.NAME_us=N` line per phase, and the sum.
impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, duration) in self.iter() {
            writeln!(f, "time.{name}_us={}", duration.as_micros())?;
        }
        write!(f, "time.total_us={}", self.total().as_micros())
    }
}
