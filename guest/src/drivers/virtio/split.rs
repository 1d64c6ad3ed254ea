//! Split queues of our own (the `virtq` crate) in memory for devices, and the register that announces them.
//!
//! Owns: where the rings of a queue lie. They are never freed: a driver never gives a device up for good.

use super::{Device, Unusable};
use crate::memory;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU64};
use mm::addr::PAGE_SIZE;
use virtio_drivers::transport::Transport as _;
use virtq::{Layout, Queue, Rings};

/// Offset of the QueueNotify register. Source: VIRTIO 1.2, section 4.2.2.
const QUEUE_NOTIFY: usize = 0x50;

/// The register that tells a device of one of its queues.
pub struct Doorbell {
    register: NonNull<u32>,
    queue: u16,
}

// SAFETY: the register is mapped for good, and a write to it is complete in itself, whoever makes it.
unsafe impl Send for Doorbell {}
// SAFETY: as above.
unsafe impl Sync for Doorbell {}

impl Doorbell {
    /// Tells the device to look at the queue.
    pub fn ring(&self) {
        // SAFETY: the register of a mapped device window; the write makes the device look at memory that it was
        // given before, and touches nothing of ours.
        unsafe { self.register.write_volatile(self.queue.into()) };
    }
}

impl Device {
    /// Sets up queue `index` with `N` entries; `event_idx` as negotiated.
    pub fn split_queue<const N: usize>(
        &mut self,
        index: u16,
        event_idx: bool,
    ) -> Result<(Queue<'static, N>, Doorbell), Unusable> {
        let layout = const { Layout::of(N) };
        let (at, memory) =
            memory::dma_alloc(layout.bytes.div_ceil(PAGE_SIZE as usize)).ok_or(Unusable::NoMemory)?;
        // SAFETY: the frames are zeroed, ours for good, page-aligned in the direct map and as long as the layout says;
        // its parts are disjoint and aligned. Driver and device access them by atomic words only.
        let rings = unsafe {
            let descriptors = memory.cast::<AtomicU64>();
            let available = memory.add(layout.available).cast::<AtomicU16>();
            let used = memory.add(layout.used).cast::<AtomicU16>();
            Rings {
                descriptors: NonNull::slice_from_raw_parts(descriptors, Layout::descriptor_words(N)).as_ref(),
                available: NonNull::slice_from_raw_parts(available, Layout::available_words(N)).as_ref(),
                used: NonNull::slice_from_raw_parts(used, Layout::used_words(N)).as_ref(),
            }
        };
        let queue = Queue::new(rings, event_idx).ok_or(Unusable::NoMemory)?;
        let base = at.get();
        let (available, used) = (base + layout.available as u64, base + layout.used as u64);
        self.transport.queue_set(index, N as u32, base, available, used);
        // SAFETY: the window of a device is longer than its registers.
        let register = unsafe { self.registers.add(QUEUE_NOTIFY) }.cast();
        Ok((queue, Doorbell { register, queue: index }))
    }

    /// The largest size of queue `index`; 0 for a queue that the device does not have.
    pub fn max_queue_size(&mut self, index: u16) -> u32 {
        self.transport.max_queue_size(index)
    }
}
