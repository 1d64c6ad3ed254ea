//! Giving way: at the kernel's wish, and of code that does not mind where.
//!
//! Owns: whether this CPU runs workload code. Stays outside: which task is next. Invariants: workload code holds nothing
//! that another task of its CPU could wait for, and calls nothing of the kernel, so it may stop between any two
//! instructions; the flag is down whenever anything else runs. Tasks of contexts do not take the CPU from each other.

use super::{RunQueue, current, run_queue, schedule, space};
use crate::arch::trap::TrapFrame;
use crate::arch::{irq, percpu};
use crate::machine::CPU;
use core::sync::atomic::Ordering;

/// Runs `work`, which does nothing but use memory of its context: the kernel's tasks of this CPU go before it.
pub fn workload<T>(work: impl FnOnce() -> T) -> T {
    let before = set_workload(true);
    give_way_if_wanted();
    let result = work();
    set_workload(before);
    result
}

/// Says whether this CPU runs workload code now; gives back what held before.
#[inline]
pub fn set_workload(now: bool) -> bool {
    let flag = &run_queue(percpu::cpu()).workload;
    let before = flag.load(Ordering::Relaxed);
    flag.store(now, Ordering::Relaxed);
    before
}

/// Whether a task of the kernel could run on this CPU.
#[inline]
fn is_wanted() -> bool {
    run_queue(percpu::cpu()).wanted.load(Ordering::Relaxed) != 0
}

/// Whether no other task could run on this CPU.
pub fn is_alone() -> bool {
    run_queue(percpu::cpu()).ready.lock(&CPU).is_empty()
}

/// A stretch of the kernel's own work in the middle of workload code: a fault.
pub struct Pause {
    queue: &'static RunQueue,
    workload: bool,
}

/// From now on this CPU runs the kernel's code.
#[inline(always)]
pub fn pause() -> Pause {
    let queue = run_queue(percpu::cpu());
    let workload = queue.workload.load(Ordering::Relaxed);
    queue.workload.store(false, Ordering::Relaxed);
    Pause { queue, workload }
}

impl Pause {
    /// The kernel's work is done, with the mask at one: its tasks go first, then what ran before goes on.
    #[inline(always)]
    pub fn end(self) {
        if self.queue.wanted.load(Ordering::Relaxed) != 0 {
            give_way();
        }
        self.queue.workload.store(self.workload, Ordering::Relaxed);
    }
}

/// Lets the other ready tasks of this CPU run first.
pub fn yield_now() {
    irq::disable();
    give_way();
    irq::enable();
}

/// Lets the kernel's other tasks of this CPU run first, if one is ready.
pub fn give_way_if_wanted() {
    if is_wanted() {
        yield_now();
    }
}

/// As [`yield_now`], with the mask at one.
pub fn give_way() {
    let me = current();
    let queue = run_queue(me.cpu());
    let mut ready = queue.ready.lock(&CPU);
    if ready.is_empty() {
        return;
    }
    queue.push(&mut ready, me);
    drop(ready);
    schedule();
}

/// The end of an interrupt of the code in `frame`, with the mask at one.
pub fn after_interrupt(frame: &TrapFrame) {
    let queue = run_queue(percpu::cpu());
    let of_workload = queue.workload.load(Ordering::Relaxed) && frame.bad_stack == 0;
    if of_workload && queue.wanted.load(Ordering::Relaxed) != 0 {
        give_way();
    }
}

/// Whether tasks in `space` are the kernel's, which go before those of contexts.
pub fn is_kernel(space: u32) -> bool {
    space == space::KERNEL
}
