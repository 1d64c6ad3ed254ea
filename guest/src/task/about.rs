//! What others may know of a task.

use super::table::View;
use super::{State, Task};
use core::sync::atomic::Ordering;

impl Task {
    /// Whether it has ended, and waits for somebody to join it.
    pub fn is_dead(&self) -> bool {
        self.state() == State::Dead
    }

    fn condition(&self) -> &'static str {
        match self.state() {
            State::Runnable if self.on_cpu.load(Ordering::Relaxed) => "running",
            State::Runnable => "ready",
            State::Parked => "waiting",
            State::Dead => "dead",
        }
    }

    /// What is shown of it.
    pub(super) fn view(&self) -> View {
        View {
            id: self.id(),
            name: self.name(),
            cpu: self.cpu(),
            condition: self.condition(),
            switches: self.switches.load(Ordering::Relaxed),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        // SAFETY: the name is written before the task is published and never again while it lives.
        unsafe { (*self.own.get()).name }
    }
}
