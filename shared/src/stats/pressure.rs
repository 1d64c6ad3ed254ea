//! When memory was short: a ring of the last times a trigger has told of it.
//!
//! Invariants: event `n`, counted from 0, is in place `n` modulo [`MAX_PRESSURE`]; a reader that comes late, or whose guest
//! lies, gets at most that many events, and the number of those it has missed.

use super::MAX_PRESSURE;
use super::groups::group;
use crate::params::{PsiTrigger, STALLS};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A trigger has told that memory is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PressureEvent {
    /// Microseconds since boot.
    pub at_us: u64,
    /// What was lost, by its place in [`STALLS`].
    pub stall: u64,
    /// The trigger's threshold, in microseconds.
    pub threshold_us: u64,
    /// The trigger's window, in microseconds.
    pub window_us: u64,
}

group! {
    /// The events in the order they came.
    PressureGroup {
        /// How many there were; the last [`MAX_PRESSURE`] can be read.
        count: u64,
        /// The ring.
        events: [PressureEvent; MAX_PRESSURE],
    }
}

impl PressureEvent {
    /// `trigger` tells at `at_us`.
    #[must_use]
    pub fn new(at_us: u64, trigger: &PsiTrigger) -> Self {
        let stall = STALLS.iter().position(|stall| *stall == trigger.stall).unwrap_or(STALLS.len());
        let PsiTrigger { threshold_us, window_us, .. } = *trigger;
        Self { at_us, stall: stall as u64, threshold_us, window_us }
    }

    /// What was lost, or a word of its own for what does not exist.
    #[must_use]
    pub fn stall(&self) -> &'static str {
        usize::try_from(self.stall).ok().and_then(|stall| STALLS.get(stall)).copied().unwrap_or("?")
    }
}

impl PressureGroup {
    /// Passes the words that event `number` changes to `put`, by their place in the group.
    pub fn encode(number: u64, event: &PressureEvent, put: &mut dyn FnMut(usize, u64)) {
        let place = (number % MAX_PRESSURE as u64) as usize;
        let at = (offset_of!(Self, events) + place * size_of::<PressureEvent>()) / size_of::<u64>();
        let words = [event.at_us, event.stall, event.threshold_us, event.window_us];
        words.into_iter().zip(at..).for_each(|(word, at)| put(at, word));
        put(offset_of!(Self, count) / size_of::<u64>(), number.saturating_add(1));
    }

    /// What came after the first `seen` events: how many of it are lost, and the rest.
    pub fn since(&self, seen: u64) -> (u64, impl Iterator<Item = &PressureEvent>) {
        let first = self.count.saturating_sub(MAX_PRESSURE as u64).max(seen);
        let places = (first..self.count).map(|number| (number % MAX_PRESSURE as u64) as usize);
        (first - seen, places.filter_map(|place| self.events.get(place)))
    }
}
