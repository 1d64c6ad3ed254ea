//! Serves a device's queues from an event loop.
//!
//! Owns: the reaction to a queue's eventfd. Stays outside: the loop itself, and who rings the
//! eventfd (KVM's ioeventfd, or the transport for a write that left KVM).
//! Invariants: a device stopped by a fault is not asked to do anything until it is reset.

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use super::device::{Backlog, SharedVirtioDevice};
use super::queue::QueueContext;
use super::{DeviceFault, lock};

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

    /// Reacts to the eventfd of queue `index`; an index the device does not have is ignored.
    pub fn serve(&self, index: usize) {
        let Some(kick) = self.context.kicks.get(index) else { return };
        // The count does not matter, and an empty eventfd only means that there was no need.
        let _ = kick.read();
        let mut device = lock(&self.device);
        if self.context.interrupt.needs_reset() {
            return;
        }
        match device.process_queue(index) {
            Ok(Backlog::Empty | Backlog::Blocked) => {}
            // Ringing our own bell puts the rest behind the other devices' events.
            Ok(Backlog::More) => drop(kick.write(1)),
            // Still under the device's lock, so that a reset cannot come in between.
            Err(fault) => self.context.interrupt.fail(&fault),
        }
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
