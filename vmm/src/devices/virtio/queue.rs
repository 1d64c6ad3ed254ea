//! A virtqueue as devices use it: take chains, give them back, interrupt when the driver asks.
//!
//! Owns: the ring's state (`virtio_queue::Queue`), guest RAM for its buffers, and the decision
//! whether used buffers are worth an interrupt.
//! Stays outside: what a chain means. The rings themselves are in guest memory and hostile.
//! Invariants: a queue exists only with rings that lie in guest RAM; every failure to read or
//! write a ring is a [`DeviceFault`], never a silent stop.
//!
//! Source: VIRTIO 1.2, sections 2.7.6 to 2.7.10.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueState, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use super::device::Backlog;
use super::interrupt::Interrupt;
use super::{DeviceFault, GuestRam};

/// Chains served in one pass, so that one busy device cannot keep the event loop for itself.
const CHAINS_PER_PASS: usize = 32;

/// A chain of descriptors that the driver made available.
pub type Chain = DescriptorChain<GuestRam>;

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
    index: usize,
    ring: Queue,
    context: QueueContext,
    /// Buffers were given back since the driver was last considered for an interrupt.
    unannounced: bool,
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
        Ok(Self { index, ring, context: context.clone(), unannounced: false })
    }

    /// The guest RAM that the queue's buffers lie in.
    pub fn memory(&self) -> &GuestRam {
        &self.context.memory
    }

    /// Gives the chain that starts at descriptor `head` back, with `written` bytes in its
    /// device-writable part. The driver hears of it at the end of the pass.
    pub fn complete(&mut self, head: u16, written: u32) -> Result<(), DeviceFault> {
        self.ring.add_used(self.context.memory.as_ref(), head, written)?;
        self.unannounced = true;
        Ok(())
    }

    /// What has the event loop serve this queue.
    pub fn waker(&self) -> QueueWaker {
        QueueWaker { index: self.index, kicks: self.context.kicks.clone() }
    }

    /// One pass: takes chains and hands each to `serve`, then announces what was given back.
    ///
    /// The pass ends early after a fair share of chains, at a fault, and when `serve` breaks
    /// because it has no use for another chain; what it breaks with is the result.
    pub fn pass(
        &mut self,
        when_empty: WhenEmpty,
        mut serve: impl FnMut(&mut Self, Chain) -> Result<ControlFlow<Backlog>, DeviceFault>,
    ) -> Result<Backlog, DeviceFault> {
        self.ring.disable_notification(self.context.memory.as_ref())?;
        let mut backlog = Backlog::More;
        for _ in 0..CHAINS_PER_PASS {
            let step = match self.pop(when_empty)? {
                Some(chain) => serve(self, chain)?,
                None => ControlFlow::Break(Backlog::Empty),
            };
            if let ControlFlow::Break(reason) = step {
                backlog = reason;
                break;
            }
        }
        self.announce()?;
        Ok(backlog)
    }

    /// Takes the next available chain. When there is none, notifications of the driver are on if that was asked for.
    fn pop(&mut self, when_empty: WhenEmpty) -> Result<Option<Chain>, DeviceFault> {
        let chain = self.ring.iter(self.context.memory.clone())?.next();
        if chain.is_some() || when_empty == WhenEmpty::Leave {
            return Ok(chain);
        }
        // A chain can arrive between the look and the switching-on.
        if self.ring.enable_notification(self.context.memory.as_ref())? {
            return Ok(self.ring.iter(self.context.memory.clone())?.next());
        }
        Ok(None)
    }

    /// Whether the driver has made a chain available that was not taken yet.
    pub fn is_pending(&self) -> Result<bool, DeviceFault> {
        let index = self.ring.avail_idx(self.memory().as_ref(), Ordering::Acquire)?;
        Ok(index.0 != self.ring.next_avail())
    }

    /// Interrupts the driver if buffers were given back and it wants to know.
    pub fn announce(&mut self) -> Result<(), DeviceFault> {
        if std::mem::take(&mut self.unannounced) && self.interrupt_wanted()? {
            self.context.interrupt.buffers_used();
        }
        Ok(())
    }

    fn interrupt_wanted(&mut self) -> Result<bool, DeviceFault> {
        let wanted = self.ring.needs_notification(self.context.memory.as_ref())?;
        if self.ring.event_idx_enabled() {
            return Ok(wanted);
        }
        // virtio-queue does not look at the flag that drivers without event indices use.
        let flags: u16 = self
            .memory()
            .load(GuestAddress(self.ring.avail_ring()), Ordering::Relaxed)
            .map_err(virtio_queue::Error::GuestMemory)?;
        Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }
}
