//! The steps of one allocation or free, kept until the lock is open and they can be printed.

use mm::phys::Step;

/// The most steps one call can take: a cut and a block kept or returned for each order.
const STEPS: usize = 32;

/// See the module documentation.
pub struct Trace {
    steps: [Option<Step>; STEPS],
    len: usize,
}

impl Trace {
    /// No steps.
    pub const fn new() -> Self {
        Self { steps: [None; STEPS], len: 0 }
    }

    /// Adds a step.
    pub fn push(&mut self, step: Step) {
        if let Some(slot) = self.steps.get_mut(self.len) {
            *slot = Some(step);
            self.len += 1;
        }
    }

    /// The steps, first to last.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.steps.iter().map_while(|step| *step)
    }
}
