//! What others may know of a task.

use super::{State, Task};
use core::sync::atomic::Ordering;

impl Task {
    /// Whether it has ended, and waits for somebody to join it.
    pub fn is_dead(&self) -> bool {
        self.state() == State::Dead
    }

    /// What it does, in a word.
    pub fn condition(&self) -> &'static str {
        match self.state() {
            State::Runnable if self.on_cpu.load(Ordering::Relaxed) => "running",
            State::Runnable => "ready",
            State::Parked => "waiting",
            State::Dead => "dead",
            State::Free => "free",
        }
    }

    /// How often it was switched to.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        // SAFETY: the name is written before the task is published and never again while it lives.
        unsafe { (*self.own.get()).name }
    }
}
