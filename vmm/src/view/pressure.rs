//! What the guest tells of its pressure while it runs.
//!
//! Owns: how much was heard already, and a list for the report. Invariants: each event is heard once; whatever a guest
//! writes, a look hears no more than the ring holds, and the list is bounded.

use serde::Serialize;
use shared::stats::{PressureEvent, PressureGroup};

/// Longest list of events.
pub const MAX_EVENTS: usize = 4096;

/// A trigger of the guest that has told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heard {
    at_us: u64,
    stall: &'static str,
    threshold_us: u64,
    window_us: u64,
}

/// See the module documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PressureLog {
    /// Events that the guest had told of at the last look.
    seen: u64,
    /// The first of them.
    pub events: Vec<Heard>,
    /// Those that are not in the list.
    pub left_out: u64,
}

impl From<&PressureEvent> for Heard {
    fn from(event: &PressureEvent) -> Self {
        let PressureEvent { at_us, threshold_us, window_us, .. } = *event;
        Self { at_us, stall: event.stall(), threshold_us, window_us }
    }
}

impl PressureLog {
    /// Takes in what is new in `group`; a line for each event, and for those that came too fast.
    pub fn hear(&mut self, group: &PressureGroup) -> Vec<String> {
        let (missed, events) = group.since(self.seen);
        let mut lines = Vec::new();
        if missed != 0 {
            lines.push(format!("pressure: {missed} events were missed"));
            self.left_out = self.left_out.saturating_add(missed);
        }
        for event in events.map(Heard::from) {
            let Heard { at_us, stall, threshold_us, window_us } = &event;
            let (seconds, ms) = (at_us / 1_000_000, at_us / 1000 % 1000);
            lines.push(format!("pressure: {stall} {threshold_us} {window_us} at {seconds}.{ms:03} s"));
            if self.events.len() < MAX_EVENTS {
                self.events.push(event);
            } else {
                self.left_out = self.left_out.saturating_add(1);
            }
        }
        self.seen = self.seen.max(group.count);
        lines
    }
}

#[cfg(test)]
mod tests;
