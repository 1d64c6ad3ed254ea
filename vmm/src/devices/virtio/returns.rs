//! The way back of a virtqueue: chains that are done go into the used ring, and the driver hears of them.
//!
//! Owns: the device's side of the used ring, and the decision whether used buffers are worth an interrupt.
//! Stays outside: the available ring (`queue`), and what a chain means.
//! Invariants: the driver sees an entry only after all of it, and all that the device wrote for it, is in memory. What
//! was given back becomes visible together at [`Returns::announce`]: the driver is looking at the index all the time,
//! so each step of it costs both sides a cache line.
//!
//! Why not `virtio-queue`: it steps the index for every chain, and does not look at the flag by which drivers without
//! event indices want no interrupts. Source: VIRTIO 1.2, sections 2.7.7 and 2.7.8.

use std::num::Wrapping;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::Error;
use vm_memory::{Bytes, GuestAddress};

use super::queue::{QueueContext, QueueWaker, Suppression};
use super::{DeviceFault, GuestRam};

/// Bytes before the entries of either ring: flags and index.
const HEADER: u64 = 4;
/// Offset of the index in either ring.
const INDEX: u64 = 2;
/// Bytes of an entry of the used ring: the first descriptor of the chain, and the length, 32 bits each.
const USED_ENTRY: u64 = 8;
/// Bytes of an entry of the available ring.
const AVAILABLE_ENTRY: u64 = 2;

/// See the module documentation.
pub struct Returns {
    /// Index of the queue.
    index: usize,
    /// Entries in the rings.
    size: u16,
    available_ring: u64,
    used_ring: u64,
    suppression: Suppression,
    context: QueueContext,
    /// The index after the last chain that was given back.
    next: Wrapping<u16>,
    /// The same when the driver was last told.
    announced: Wrapping<u16>,
}

impl Returns {
    /// Of queue `index` with `size` entries, a power of two; both rings lie in guest RAM.
    pub(super) fn new(
        index: usize,
        size: u16,
        available_ring: u64,
        used_ring: u64,
        suppression: Suppression,
        context: &QueueContext,
    ) -> Self {
        let (next, announced) = (Wrapping(0), Wrapping(0));
        let context = context.clone();
        Self { index, size, available_ring, used_ring, suppression, context, next, announced }
    }

    /// The guest RAM that the queue's buffers lie in.
    pub fn memory(&self) -> &GuestRam {
        &self.context.memory
    }

    /// What has the event loop serve this queue.
    pub fn waker(&self) -> QueueWaker {
        QueueWaker::new(self.index, &self.context)
    }

    /// Gives the chain that starts at descriptor `head` back, with `written` bytes in its
    /// device-writable part. The driver hears of it at the end of the pass.
    pub fn complete(&mut self, head: u16, written: u32) -> Result<(), DeviceFault> {
        if head >= self.size {
            return Err(Error::InvalidDescriptorIndex.into());
        }
        let entry = u64::from(self.next.0 % self.size);
        let at = self.used_ring + HEADER + entry * USED_ENTRY;
        for (at, word) in [(at, u32::from(head)), (at + USED_ENTRY / 2, written)] {
            let (at, word) = (GuestAddress(at), word.to_le());
            self.memory().store(word, at, Ordering::Relaxed).map_err(Error::GuestMemory)?;
        }
        self.next += 1;
        Ok(())
    }

    /// Lets the driver see what was given back, and interrupts it if it wants to know.
    pub fn announce(&mut self) -> Result<(), DeviceFault> {
        if self.next == self.announced {
            return Ok(());
        }
        let index = GuestAddress(self.used_ring + INDEX);
        self.memory().store(self.next.0.to_le(), index, Ordering::Release).map_err(Error::GuestMemory)?;
        // A driver asks for an interrupt and then looks at the index; it must not miss both.
        fence(Ordering::SeqCst);
        if self.interrupt_wanted()? {
            self.context.interrupt.buffers_used();
        }
        self.announced = self.next;
        Ok(())
    }

    fn interrupt_wanted(&self) -> Result<bool, DeviceFault> {
        let word = |offset: u64| {
            let at = GuestAddress(self.available_ring + offset);
            let word: u16 = self.memory().load(at, Ordering::Relaxed).map_err(Error::GuestMemory)?;
            Ok::<_, Error>(u16::from_le(word))
        };
        Ok(match self.suppression {
            Suppression::Flags => u32::from(word(0)?) & VRING_AVAIL_F_NO_INTERRUPT == 0,
            Suppression::EventIdx => {
                // Whether the entry asked for is among those given back since the last look, modulo 2^16.
                let event = Wrapping(word(HEADER + AVAILABLE_ENTRY * u64::from(self.size))?);
                self.next - event - Wrapping(1) < self.next - self.announced
            }
        })
    }
}
