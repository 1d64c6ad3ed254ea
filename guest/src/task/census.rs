//! What there is of tasks and what CPUs have done, for whoever shows it.

use super::{QUEUES, State, Task, run_queue, table};
use crate::arch::{cpu, time};
use core::sync::atomic::Ordering;

/// How long a CPU has slept for want of work, in nanoseconds since boot.
pub fn idle_ns(cpu: u32) -> u64 {
    let queue = run_queue(cpu);
    let now = match queue.asleep_since.load(Ordering::Relaxed) {
        0 => 0,
        since => cpu::rdtsc().saturating_sub(since),
    };
    time::tsc_to_ns(queue.slept.load(Ordering::Relaxed).wrapping_add(now))
}

/// Switches between tasks since boot, over all CPUs.
pub fn switches() -> u64 {
    QUEUES.iter().map(|queue| queue.switches.load(Ordering::Relaxed)).sum()
}

/// How many tasks there are, the idle ones left out.
pub struct Census {
    /// All of them.
    pub tasks: u64,
    /// Those that run or could run.
    pub running: u64,
}

/// Counts the tasks.
pub fn census() -> Census {
    let mut census = Census { tasks: 0, running: 0 };
    let is_idle = |task: &Task| {
        let idle = run_queue(task.cpu()).idle.load(Ordering::Acquire);
        core::ptr::eq(idle, task)
    };
    table::for_each(|task| {
        if !is_idle(task) {
            census.tasks += 1;
            census.running += u64::from(task.state() == State::Runnable);
        }
    });
    census
}
