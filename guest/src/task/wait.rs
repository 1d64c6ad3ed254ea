//! Wait queues: tasks that sleep until a condition holds.
//!
//! Invariants: the condition is looked at under the queue's lock before a task is queued, and whoever makes
//! it true wakes the queue afterwards, so no wake-up is lost.

use super::queue::Queue;
use super::sleep::park_timeout;
use crate::arch::{cpu, time};
use crate::machine::CPU;
use mm::sync::SpinLock;

/// Tasks that wait for something.
pub struct WaitQueue {
    waiters: SpinLock<Queue>,
}

impl WaitQueue {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { waiters: SpinLock::new(Queue::of_waiters()) }
    }

    /// Sleeps until `done` holds. It runs with interrupts masked and must not wait itself.
    pub fn wait_until(&self, mut done: impl FnMut() -> bool) {
        let me = super::current();
        loop {
            let mut waiters = self.waiters.lock(&CPU);
            if done() {
                return;
            }
            waiters.push(me);
            drop(waiters);
            super::park();
            self.waiters.lock(&CPU).remove(me);
        }
    }

    /// As [`WaitQueue::wait_until`], for at most `ns` nanoseconds.
    fn wait_until_for(&self, ns: u64, mut done: impl FnMut() -> bool) {
        let me = super::current();
        let (start, length) = (cpu::rdtsc(), time::ns_to_tsc(ns));
        loop {
            let mut waiters = self.waiters.lock(&CPU);
            let passed = cpu::rdtsc().wrapping_sub(start);
            if passed >= length || done() {
                return;
            }
            waiters.push(me);
            drop(waiters);
            park_timeout(time::tsc_to_ns(length - passed));
            self.waiters.lock(&CPU).remove(me);
        }
    }

    /// Wakes every waiter; each looks at its condition again.
    pub fn wake_all(&self) {
        let mut waiters = self.waiters.lock(&CPU);
        while let Some(task) = waiters.pop() {
            task.unpark();
        }
    }
}

/// How many queues those who wait on a key share.
const KEYED: usize = 64;

static WAITING: [WaitQueue; KEYED] = [const { WaitQueue::new() }; KEYED];

/// The queue of a key (Fibonacci hashing).
fn queue_of(key: u64) -> &'static WaitQueue {
    &WAITING[(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % KEYED]
}

/// Sleeps until `done` holds; whoever makes it true calls [`wake`] with the same key.
pub fn wait_on(key: u64, done: &mut dyn FnMut() -> bool) {
    queue_of(key).wait_until(done);
}

/// As [`wait_on`], for at most `ns` nanoseconds.
pub fn wait_on_for(key: u64, ns: u64, done: &mut dyn FnMut() -> bool) {
    queue_of(key).wait_until_for(ns, done);
}

/// Wakes all who wait on `key`; others whom that wakes look again and go on sleeping.
pub fn wake(key: u64) {
    queue_of(key).wake_all();
}
