//! A virtqueue as devices use it: take chains, give them back, interrupt when the driver asks.
//!
//! Owns: the available side of the ring (`virtio_queue::Queue`), and when the driver notifies.
//! Stays outside: the way back (`returns`), what a chain means. The rings themselves are in guest memory and hostile.
//! Invariants: a queue exists only with rings that lie in guest RAM; every failure to read or
//! write a ring is a [`DeviceFault`], never a silent stop.
//!
//! Source: VIRTIO 1.2, sections 2.7.6 to 2.7.10.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_queue::{AvailIter, Error, Queue, QueueOwnedT, QueueState, QueueT};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

use super::chain::Chain;
use super::device::Backlog;
use super::interrupt::Interrupt;
use super::returns::Returns;
use super::{DeviceFault, GuestRam, lookahead};

/// Chains served in one pass, so that one busy device cannot keep the event loop for itself.
const CHAINS_PER_PASS: usize = 32;

/// What the driver wrote into the transport's queue registers, not checked yet.
#[derive(Clone, Copy, Default)]
pub struct QueueRegisters {
    /// Entries in the ring.
    pub size: u32,
    /// Whether the driver enabled the queue.
    pub ready: bool,
    /// Guest-physical address of the descriptor table.
    pub desc_table: u64,
    /// Guest-physical address of the available ring.
    pub avail_ring: u64,
    /// Guest-physical address of the used ring.
    pub used_ring: u64,
}

/// Whether VIRTIO_F_RING_EVENT_IDX was negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppression {
    /// By flags in the rings.
    Flags,
    /// By event indices in the rings.
    EventIdx,
}

/// What all queues of one device share with its transport.
#[derive(Clone)]
pub struct QueueContext {
    /// Where rings and buffers are.
    pub memory: GuestRam,
    /// How the driver hears of used buffers.
    pub interrupt: Arc<Interrupt>,
    /// The queues' eventfds, by index: ringing one has the event loop serve that queue.
    pub kicks: Arc<[EventFd]>,
}

/// What a pass does with notifications when it has taken the last chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenEmpty {
    /// Asks the driver for one, because the caller goes to sleep.
    Arm,
    /// Leaves them off, because the caller comes back by itself.
    Leave,
}

/// Has the event loop serve one queue, as if the driver had notified it. A waker may outlive its
/// queue: serving a queue that is not there does nothing.
pub struct QueueWaker {
    index: usize,
    kicks: Arc<[EventFd]>,
}

impl QueueWaker {
    pub(super) fn new(index: usize, context: &QueueContext) -> Self {
        Self { index, kicks: context.kicks.clone() }
    }

    /// The queue is to be served soon.
    pub fn wake(&self) {
        if let Some(kick) = self.kicks.get(self.index) {
            // A full counter means that the queue's event is pending already.
            let _ = kick.write(1);
        }
    }
}

/// One live queue of an active device.
pub struct DeviceQueue {
    ring: Queue,
    returns: Returns,
}

impl DeviceQueue {
    /// Builds queue `index` from what the driver wrote.
    ///
    /// Fails when a size or an alignment is forbidden, or a ring is not in guest RAM.
    pub fn new(
        index: usize,
        max_size: u16,
        registers: QueueRegisters,
        suppression: Suppression,
        context: &QueueContext,
    ) -> Result<Self, DeviceFault> {
        let size = u16::try_from(registers.size)
            .map_err(|_| DeviceFault::QueueSize { queue: index, size: registers.size })?;
        let state = QueueState {
            max_size,
            next_avail: 0,
            next_used: 0,
            event_idx_enabled: suppression == Suppression::EventIdx,
            size,
            ready: true,
            desc_table: registers.desc_table,
            avail_ring: registers.avail_ring,
            used_ring: registers.used_ring,
        };
        let ring =
            Queue::try_from(state).map_err(|source| DeviceFault::QueueSetup { queue: index, source })?;
        if !ring.is_valid(context.memory.as_ref()) {
            return Err(DeviceFault::QueueAddress { queue: index });
        }
        let (available, used) = (registers.avail_ring, registers.used_ring);
        let returns = Returns::new(index, size, available, used, suppression, context);
        Ok(Self { ring, returns })
    }

    /// The way back of its chains.
    pub fn returns(&mut self) -> &mut Returns {
        &mut self.returns
    }

    /// What has the event loop serve this queue.
    pub fn waker(&self) -> QueueWaker {
        self.returns.waker()
    }

    /// One pass: takes chains and hands each to `serve`, then announces what was given back.
    ///
    /// The pass ends early after a fair share of chains, at a fault, and when `serve` breaks
    /// because it has no use for another chain; what it breaks with is the result.
    pub fn pass(
        &mut self,
        when_empty: WhenEmpty,
        mut serve: impl FnMut(&mut Returns, Chain<'_>) -> Result<ControlFlow<Backlog>, DeviceFault>,
    ) -> Result<Backlog, DeviceFault> {
        let Self { ring, returns } = self;
        let memory = returns.memory().clone();
        let (table, size) = (GuestAddress(ring.desc_table()), ring.size());
        ring.disable_notification(memory.as_ref())?;
        lookahead::fetch(ring, memory.as_ref());
        let backlog = take(ring, returns, memory.as_ref(), when_empty, |returns, head| {
            serve(returns, Chain::new(memory.as_ref(), table, size, head))
        });
        returns.announce()?;
        backlog
    }

    /// Whether the driver has made a chain available that was not taken yet.
    pub fn is_pending(&self) -> Result<bool, DeviceFault> {
        let index = self.ring.avail_idx(self.returns.memory().as_ref(), Ordering::Acquire)?;
        Ok(index.0 != self.ring.next_avail())
    }
}

/// The available ring as a pass sees it. Between any two calls the driver may add chains.
trait Available {
    /// The chains that are there now.
    fn chains<'m>(
        &mut self,
        memory: &'m crate::memory::GuestRam,
    ) -> Result<AvailIter<'_, &'m crate::memory::GuestRam>, Error>;

    /// Asks for a notification of the next chain. Returns whether it is there already.
    fn ask(&mut self, memory: &crate::memory::GuestRam) -> Result<bool, Error>;
}

impl Available for Queue {
    fn chains<'m>(
        &mut self,
        memory: &'m crate::memory::GuestRam,
    ) -> Result<AvailIter<'_, &'m crate::memory::GuestRam>, Error> {
        self.iter(memory)
    }

    fn ask(&mut self, memory: &crate::memory::GuestRam) -> Result<bool, Error> {
        self.enable_notification(memory)
    }
}

/// Takes chains and hands the head of each to `serve`, see [`DeviceQueue::pass`]. Looks at the driver's index only when it has
/// taken all that the last look has found: the driver is writing there.
fn take(
    ring: &mut impl Available,
    returns: &mut Returns,
    memory: &crate::memory::GuestRam,
    when_empty: WhenEmpty,
    mut serve: impl FnMut(&mut Returns, u16) -> Result<ControlFlow<Backlog>, DeviceFault>,
) -> Result<Backlog, DeviceFault> {
    let mut left = CHAINS_PER_PASS;
    // Notifications are on, and the driver has something all the same.
    let mut late = false;
    while left > 0 {
        let before = left;
        for chain in ring.chains(memory)?.take(left) {
            left -= 1;
            if let ControlFlow::Break(reason) = serve(returns, chain.head_index())? {
                return Ok(reason);
            }
        }
        if left < before {
            // What was taken has moved the index of which the driver is to tell.
            late = false;
            continue;
        }
        // A chain can arrive between the look and the switching-on.
        if late || when_empty == WhenEmpty::Leave || !ring.ask(memory)? {
            return Ok(Backlog::Empty);
        }
        late = true;
    }
    Ok(Backlog::More)
}

#[cfg(test)]
mod tests;
