//! Sleeping for a while.
//!
//! Invariants: a task's timer is set by the task alone, and taken back before the task does anything else, so it is in
//! the list of the task's CPU only while the task sleeps.

use super::{Task, current, park};
use crate::arch::{cpu, percpu, time};

/// The end of a sleep of the task at `address`.
pub fn on_timer(address: usize) {
    // SAFETY: `park_timeout` gives its own task, which sleeps on this CPU until this has returned.
    let task = unsafe { &*core::ptr::with_exposed_provenance::<Task>(address) };
    task.unpark();
}

/// As [`park`], for at most `ns` nanoseconds.
pub fn park_timeout(ns: u64) {
    let me = current();
    me.timer.set(ns, core::ptr::from_ref(me).expose_provenance());
    park();
    me.timer.cancel();
}

/// How often it is looked whether something has come that wakes nobody.
const LOOK_NS: u64 = 1_000_000;

/// Sleeps until `is_so`, which nobody wakes this task for, but for `ns` nanoseconds at most.
pub fn sleep_until(ns: u64, is_so: impl Fn() -> bool) {
    let start = cpu::rdtsc();
    while !is_so() && time::tsc_to_ns(cpu::rdtsc().wrapping_sub(start)) < ns {
        sleep(LOOK_NS);
    }
}

/// Sleeps for `ns` nanoseconds; spins where nobody could wake it: before there are tasks.
pub fn sleep(ns: u64) {
    if percpu::current() == 0 {
        return time::delay(ns);
    }
    let (start, length) = (cpu::rdtsc(), time::ns_to_tsc(ns));
    loop {
        let passed = cpu::rdtsc().wrapping_sub(start);
        if passed >= length {
            return;
        }
        park_timeout(time::tsc_to_ns(length - passed));
    }
}
