//! Many requests from one task: one notification for many, and no interrupts while the task looks by itself.
//!
//! Owns: the hold on a queue's interrupts. Invariants: while it is there, the task that has it calls
//! [`Submitter::poll`] or [`Submitter::sleep`] again and again, because others on the queue are told by nobody else.

use super::disk::{Disk, Operation, Segment};
use super::lane::Lane;
use super::{BlkError, Ticket};
use crate::arch::{cpu, time};
use crate::machine::CPU;
use core::cell::Cell;

/// How long to look before sleeping, in nanoseconds. Sleeping and being woken cost more than half of it.
const SPIN_NS: u64 = 100_000;

/// See the module documentation.
pub struct Submitter<'a> {
    disk: &'a Disk,
    queue: usize,
    /// [`Lane::rounds`] when this task last looked. An interrupt that was on its way when polling began, or another
    /// task, may take in what finishes, and then there is nothing left to poll.
    seen: Cell<u64>,
}

impl<'a> Submitter<'a> {
    /// On the queue of this CPU.
    pub fn new(disk: &'a Disk) -> Self {
        let submitter = Self { disk, queue: disk.nearest(), seen: Cell::new(0) };
        submitter.lane().ring.lock(&CPU).start_polling();
        submitter.look();
        submitter
    }

    fn lane(&self) -> &'static Lane {
        self.disk.lane(self.queue)
    }

    /// Tells the device of what was started, if it wants to know.
    pub fn kick(&self) {
        self.disk.kick(self.queue);
    }

    /// Takes in what is finished. Returns whether something has finished since the last call of this or of
    /// [`Submitter::wait`].
    pub fn poll(&self) -> bool {
        self.disk.poll(self.queue);
        self.look()
    }

    /// Returns when something has finished since the last call of this or of [`Submitter::poll`]. Looks for a while,
    /// then sleeps.
    pub fn wait(&self) {
        if self.spin(|| self.look()) {
            return;
        }
        self.allow_interrupts();
        self.lane().wait_progress(self.seen.get());
        self.lane().ring.lock(&CPU).start_polling();
        self.look();
    }

    /// Looks for a while, until `done`; whether it was.
    pub fn spin(&self, mut done: impl FnMut() -> bool) -> bool {
        let (start, limit) = (cpu::rdtsc(), time::ns_to_tsc(SPIN_NS));
        while cpu::rdtsc().wrapping_sub(start) < limit {
            self.disk.poll(self.queue);
            if done() {
                return true;
            }
            core::hint::spin_loop();
        }
        false
    }

    /// Whether anything has finished since the last look. The caller looks at its tickets afterwards, so none is
    /// missed.
    fn look(&self) -> bool {
        let rounds = self.lane().rounds();
        self.seen.replace(rounds) != rounds
    }

    /// Interrupts tell from now on; what came before is taken in.
    fn allow_interrupts(&self) {
        self.lane().ring.lock(&CPU).stop_polling();
        if self.lane().drain(self.disk.counting(), &mut super::port::tell) == super::lane::Look::Broken {
            self.disk.give_up();
        }
    }
}

impl Submitter<'static> {
    /// Starts a request if there is room for it; the device may not know of it before [`Submitter::kick`].
    ///
    /// # Errors
    /// As [`Disk::submit`], and [`BlkError::Full`].
    ///
    /// # Safety
    /// As [`Disk::submit`].
    pub unsafe fn submit(&self, operation: Operation, segments: &[Segment]) -> Result<Ticket, BlkError> {
        // SAFETY: by the caller.
        unsafe { self.disk.try_submit(self.queue, operation, segments) }
    }
}

impl Drop for Submitter<'_> {
    fn drop(&mut self) {
        self.allow_interrupts();
    }
}
