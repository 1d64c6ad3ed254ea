//! Telling somebody when too much time was lost within a window (Linux `psi_trigger`).
//!
//! Invariants: at most once in a window.

/// Shortest and longest window, in nanoseconds.
const WINDOW_MIN: u64 = 500_000_000;
const WINDOW_MAX: u64 = 10_000_000_000;

/// What is wrong with a trigger (`EINVAL`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bad;

/// See the module documentation. Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    threshold: u64,
    window: u64,
    start: u64,
    start_total: u64,
    /// How much the window before this one had.
    before: u64,
    last_event: Option<u64>,
}

impl Trigger {
    /// Tells when `threshold` is lost within `window`, from `now` on, where `total` was lost before.
    ///
    /// # Errors
    /// [`Bad`] for a window below 0.5 or above 10 seconds, and for a threshold of 0 or above the window.
    pub fn new(threshold: u64, window: u64, now: u64, total: u64) -> Result<Self, Bad> {
        let fits = (WINDOW_MIN..=WINDOW_MAX).contains(&window) && (1..=window).contains(&threshold);
        let new = Self { threshold, window, start: now, start_total: total, before: 0, last_event: None };
        fits.then_some(new).ok_or(Bad)
    }

    /// `total` was lost until `now`: whether it is time to tell.
    pub fn update(&mut self, now: u64, total: u64) -> bool {
        let growth = self.growth(now, total);
        let is_new = self.last_event.is_none_or(|last| now >= last + self.window);
        let tells = growth >= self.threshold && is_new;
        if tells {
            self.last_event = Some(now);
        }
        tells
    }

    /// What the last window's length has brought; of the window before, the part that still counts is guessed.
    fn growth(&mut self, now: u64, total: u64) -> u64 {
        let (elapsed, growth) = (now.saturating_sub(self.start), total.saturating_sub(self.start_total));
        if elapsed > self.window {
            (self.start, self.start_total, self.before) = (now, total, growth);
            return growth;
        }
        let rest = u128::from(self.before) * u128::from(self.window - elapsed) / u128::from(self.window);
        growth + rest as u64
    }
}
