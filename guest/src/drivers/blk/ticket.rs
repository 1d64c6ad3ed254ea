//! A request in flight, as its owner holds it.
//!
//! Owns: the life of a ticket, which is that of its slot. Invariants: the result is taken once, or given up once.

use super::disk::Disk;
use super::lane::Lane;
use super::slots::Outcome;
use crate::arch::{cpu, time};
use core::mem::ManuallyDrop;

/// A request in flight. Dropping it gives up the result, not the request.
#[must_use = "the memory of the request is the device's until the ticket says that it is done"]
pub struct Ticket {
    disk: &'static Disk,
    queue: usize,
    slot: usize,
}

impl Ticket {
    /// The owner's hold on `slot` of queue `queue`, which was just claimed.
    pub(super) fn new(disk: &'static Disk, queue: usize, slot: usize) -> Self {
        Self { disk, queue, slot }
    }

    fn lane(&self) -> &'static Lane {
        self.disk.lane(self.queue)
    }

    /// Sleeps until the request is done.
    pub fn wait(self) -> Outcome {
        let mut ticket = self;
        loop {
            ticket.lane().slots.wait(ticket.slot);
            match ticket.finish() {
                Ok(outcome) => return outcome,
                Err(still) => ticket = still,
            }
        }
    }

    /// The outcome, if the request is done; else the ticket again.
    pub fn finish(self) -> Result<Outcome, Self> {
        match self.lane().slots.take(self.slot) {
            Some(outcome) => {
                // The slot is free: there is nothing left to abandon.
                let spent = ManuallyDrop::new(self);
                spent.lane().room.wake_all();
                Ok(outcome)
            }
            None => Err(self),
        }
    }

    /// Polls the device for up to `ns` nanoseconds, without interrupts or tasks. Gives the ticket back when
    /// the request is still not done.
    pub fn wait_polled(self, ns: u64) -> Result<Outcome, Self> {
        let (start, limit) = (cpu::rdtsc(), time::ns_to_tsc(ns));
        let mut ticket = self;
        loop {
            ticket.disk.poll(ticket.queue);
            ticket = match ticket.finish() {
                Ok(outcome) => return Ok(outcome),
                Err(still) if cpu::rdtsc().wrapping_sub(start) > limit => return Err(still),
                Err(still) => still,
            };
            core::hint::spin_loop();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane().slots.abandon(self.slot);
        self.lane().room.wake_all();
    }
}
