//! The tasks that could run on a CPU, in the order in which they will.
//!
//! Invariants: the kernel's tasks go before those of contexts, each kind in the order of its wake-ups. A context runs
//! only while none of the kernel's is ready: what became ready while another of the kernel's ran would otherwise wait
//! behind a context that computes without end.

use super::Task;
use super::preempt::is_kernel;
use super::queue::Queue;
use core::sync::atomic::Ordering;

/// The ready tasks of one CPU.
pub struct Ready {
    kernel: Queue,
    contexts: Queue,
}

impl Ready {
    /// Nobody.
    pub const fn new() -> Self {
        Self { kernel: Queue::new(), contexts: Queue::new() }
    }

    /// Whether nobody could run.
    pub fn is_empty(&self) -> bool {
        self.kernel.is_empty() && self.contexts.is_empty()
    }

    /// Puts `task` behind those of its kind; whether it is the kernel's.
    pub fn push(&mut self, task: &'static Task) -> bool {
        let is_kernel = is_kernel(task.space.load(Ordering::Relaxed));
        if is_kernel {
            self.kernel.push(task)
        } else {
            self.contexts.push(task)
        }
        is_kernel
    }

    /// Takes the task that goes first, and whether it is the kernel's.
    pub fn pop(&mut self) -> Option<(&'static Task, bool)> {
        let kernel = self.kernel.pop().map(|task| (task, true));
        kernel.or_else(|| self.contexts.pop().map(|task| (task, false)))
    }
}
