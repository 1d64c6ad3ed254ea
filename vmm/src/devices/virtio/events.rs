//! Serves a device's queues from an event loop.
//!
//! Owns: the reaction to a queue's eventfd. Stays outside: the loop itself, and who rings the
//! eventfd (KVM's ioeventfd, or the transport for a write that left KVM).
//! Invariants: a device stopped by a fault is not asked to do anything until it is reset.

use std::os::fd::RawFd;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::eventfd::EventFd;

use super::device::{Backlog, Completed, SharedVirtioDevice, VirtioDevice};
use super::queue::QueueContext;
use super::{DeviceFault, lock};
use crate::sandbox::ThreadFilter;

/// The event-loop half of one virtio device.
///
/// A device whose work may block for long (a console on a slow terminal) can have an event loop
/// of its own; nothing here needs the loop to be shared.
pub struct VirtioEvents {
    device: SharedVirtioDevice,
    context: QueueContext,
}

impl VirtioEvents {
    pub(super) fn new(device: SharedVirtioDevice, context: QueueContext) -> Self {
        Self { device, context }
    }

    /// Reacts to the eventfd of queue `index`; an index the device does not have is ignored. Returns whether there
    /// is more to do, for which the eventfd was rung again.
    pub fn serve(&self, index: usize) -> bool {
        let Some(kick) = self.context.kicks.get(index) else { return false };
        // The count does not matter, and an empty eventfd only means that there was no need.
        let _ = kick.read();
        let more = self.attempt(|device| device.process_queue(index)) == Some(Backlog::More);
        if more {
            // Ringing our own bell puts the rest behind the other devices' events.
            let _ = kick.write(1);
        }
        more
    }

    /// Has the device make what it needs, its threads in `helpers`. Returns what tells of work for
    /// [`VirtioEvents::complete`].
    pub fn prepare(&self, helpers: ThreadFilter) -> Option<RawFd> {
        lock(&self.device).prepare(helpers)
    }

    /// Serves queue `index` without being rung and without asking for the next ring. Returns whether to come back.
    pub fn poll(&self, index: usize) -> bool {
        self.attempt(|device| device.poll_queue(index)) == Some(Backlog::More)
    }

    /// Has the device take in what the host has finished. Also for a device that is stopped: what was under way
    /// must come to its end.
    pub fn complete(&self) -> Completed {
        let mut device = lock(&self.device);
        match device.complete() {
            Ok(completed) => completed,
            Err(fault) => {
                self.context.interrupt.fail(&fault);
                // The rest is for the next call.
                Completed { progress: true, ..Completed::default() }
            }
        }
    }

    /// The eventfds of the queues, by index.
    pub fn kicks(&self) -> &[EventFd] {
        &self.context.kicks
    }

    /// Runs `work` on a device that is not stopped. A fault stops it.
    fn attempt<T>(&self, work: impl FnOnce(&mut dyn VirtioDevice) -> Result<T, DeviceFault>) -> Option<T> {
        let mut device = lock(&self.device);
        if self.context.interrupt.needs_reset() {
            return None;
        }
        // Still under the device's lock, so that a reset cannot come in between.
        work(&mut *device).map_err(|fault| self.context.interrupt.fail(&fault)).ok()
    }
}

impl MutEventSubscriber for VirtioEvents {
    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        if let Ok(index) = usize::try_from(events.data()) {
            self.serve(index);
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        for (index, kick) in (0u32..).zip(self.context.kicks.iter()) {
            if let Err(error) = ops.add(Events::with_data(kick, index, EventSet::IN)) {
                let queue = index as usize;
                self.context.interrupt.fail(&DeviceFault::EventLoop { queue, reason: format!("{error:?}") });
            }
        }
    }
}
