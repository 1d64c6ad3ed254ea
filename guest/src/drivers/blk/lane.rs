//! A queue of a disk with those who wait for it.
//!
//! Owns: the lock around the queue, the slots, and the waiting tasks. Stays outside: the device and the disk's limits
//! (`disk`). Lock order: wait queues are never touched with the ring locked.

use super::counters::Counters;
use super::port;
use super::ring::Ring;
use super::slots::{Finished, Outcome, Slots, each};
use crate::machine::CPU;
use crate::task::WaitQueue;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::sync::SpinLock;

/// Whoever is told of requests that have no ticket.
pub type Tell<'a> = &'a mut dyn FnMut(u64, Outcome);

/// See the module documentation.
pub struct Lane {
    /// The queue.
    pub ring: SpinLock<Ring>,
    /// Requests in flight.
    pub slots: Slots,
    /// Tasks that wait for a slot or descriptors.
    pub room: WaitQueue,
    /// Tasks that wait for any request to complete.
    progress: WaitQueue,
    /// How often requests have completed.
    rounds: AtomicU64,
    /// The same, before anybody was told. Changes with the ring locked.
    taken: AtomicU64,
}

/// What came of a look at the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing was finished.
    Nothing,
    /// Requests were finished.
    Finished,
    /// The device has broken the queue and must be stopped.
    Broken,
}

impl Lane {
    /// A queue that nobody waits for.
    pub fn new(ring: Ring) -> Self {
        Self {
            ring: SpinLock::new(ring),
            slots: Slots::new(),
            room: WaitQueue::new(),
            progress: WaitQueue::new(),
            rounds: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Takes in what is finished, and wakes those who wait for it or tells of it.
    pub fn drain(&self, counters: &Counters, tell: Tell<'_>) -> Look {
        let mut ring = self.ring.lock(&CPU);
        let drained = ring.drain(&self.slots, counters);
        let (Ok(finished) | Err(finished)) = drained;
        self.take_in(finished);
        drop(ring);
        self.announce(finished, tell);
        match drained {
            Err(_) => Look::Broken,
            Ok(finished) if finished.is_empty() => Look::Nothing,
            Ok(_) => Look::Finished,
        }
    }

    /// The same without a lock or a wake-up when there is nothing.
    pub fn poll(&self, counters: &Counters, tell: Tell<'_>) -> Look {
        if self.ring.lock(&CPU).any_finished() { self.drain(counters, tell) } else { Look::Nothing }
    }

    /// The device has been stopped.
    pub fn lose(&self, counters: &Counters) {
        let mut ring = self.ring.lock(&CPU);
        let failed = ring.lose(&self.slots, counters);
        self.take_in(failed);
        drop(ring);
        self.announce(failed, &mut port::tell);
    }

    fn take_in(&self, finished: Finished) {
        if !finished.is_empty() {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the device has requests, or somebody is yet to be told of one.
    pub fn is_busy(&self) -> bool {
        let ring = self.ring.lock(&CPU);
        ring.is_busy() || self.taken.load(Ordering::Relaxed) != self.rounds()
    }

    /// How often requests have completed so far.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }

    /// Sleeps until requests have completed since [`Lane::rounds`] gave `rounds`.
    pub fn wait_progress(&self, rounds: u64) {
        self.progress.wait_until(|| self.rounds() != rounds);
    }

    fn announce(&self, finished: Finished, tell: Tell<'_>) {
        if finished.is_empty() {
            return;
        }
        each(finished.owned).for_each(|slot| self.slots.wake(slot));
        for (cookie, outcome) in each(finished.told).filter_map(|slot| self.slots.end(slot)) {
            tell(cookie, outcome);
        }
        self.rounds.fetch_add(1, Ordering::Release);
        self.progress.wake_all();
        self.room.wake_all();
    }
}
