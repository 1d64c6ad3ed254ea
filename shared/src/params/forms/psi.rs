//! `psi.trigger=`. Source: Linux `kernel/sched/psi.c` (`psi_trigger_create`), what is written to `/proc/pressure/memory`.

use crate::params::range::{int_in, word_of};
use crate::params::spec::{Problem, Range};
use core::fmt;

/// What can be lost, by the names of its lines.
pub const STALLS: [&str; 2] = ["some", "full"];

/// A checked trigger: `some|full threshold window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PsiTrigger {
    /// One of [`STALLS`].
    pub stall: &'static str,
    /// How much of the window may be lost, in microseconds.
    pub threshold_us: u64,
    /// The window, in microseconds.
    pub window_us: u64,
}

impl PsiTrigger {
    /// Shortest and longest window, in microseconds.
    pub const WINDOWS: [u64; 2] = [500_000, 10_000_000];

    /// Reads a trigger as Linux does.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut words = text.split_ascii_whitespace();
        let mut next = || words.next().ok_or(Problem::Malformed);
        let stall = word_of(&STALLS, next()?).ok_or(Problem::NotListed)?;
        let (threshold, window) = (next()?, next()?);
        let [shortest, longest] = Self::WINDOWS.map(|us| us as i64);
        let window = int_in(Range::new(shortest, longest), window)?;
        let threshold = int_in(Range::new(1, window), threshold)?;
        if words.next().is_some() {
            return Err(Problem::Malformed);
        }
        Ok(Self { stall, threshold_us: threshold as u64, window_us: window as u64 })
    }
}

impl fmt::Display for PsiTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.stall, self.threshold_us, self.window_us)
    }
}
