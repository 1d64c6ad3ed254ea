//! Input of the console: buffers that the device fills.
//!
//! Owns: the receive queue and its buffers. Input that nobody takes stays in the buffers, and then with the
//! monitor. Invariants: a buffer is either with the device, in the used ring, or the one being read.

use crate::drivers::virtio::{Device, Dma, Unusable};
use crate::memory;
use core::ptr::NonNull;
use mm::addr::PAGE_SIZE;
use virtio_drivers::queue::VirtQueue;

const QUEUE: u16 = 0;
const BUFFERS: usize = 4;
const BUFFER_BYTES: usize = PAGE_SIZE as usize / BUFFERS;

/// A buffer that the device has filled.
struct Filled {
    buffer: usize,
    from: usize,
    to: usize,
}

/// See the module documentation.
pub struct Input {
    queue: VirtQueue<Dma, BUFFERS>,
    page: NonNull<u8>,
    /// The buffer of each token that the device has.
    by_token: [Option<usize>; BUFFERS],
    reading: Option<Filled>,
}

// SAFETY: the page is the driver's alone; whoever has the `Input` has it.
unsafe impl Send for Input {}

impl Input {
    /// Sets the queue up.
    pub fn new(device: &mut Device) -> Result<Self, Unusable> {
        let queue = device.queue(QUEUE)?;
        let (_, page) = memory::dma_alloc(1).ok_or(Unusable::NoMemory)?;
        Ok(Self { queue, page, by_token: [None; BUFFERS], reading: None })
    }

    /// Gives all buffers to the device, which has started.
    pub fn start(&mut self, device: &mut Device) {
        for buffer in 0..BUFFERS {
            self.offer(buffer);
        }
        device.kick(QUEUE, &self.queue);
    }

    fn buffer(&self, buffer: usize) -> *mut [u8] {
        let start = self.page.as_ptr().wrapping_add(buffer % BUFFERS * BUFFER_BYTES);
        core::ptr::slice_from_raw_parts_mut(start, BUFFER_BYTES)
    }

    fn offer(&mut self, buffer: usize) {
        let memory = self.buffer(buffer);
        // SAFETY: a piece of the driver's page that nobody reads until its token is popped.
        let added = unsafe { self.queue.add(&[], &mut [&mut *memory]) };
        if let Ok(token) = added {
            self.by_token[usize::from(token) % BUFFERS] = Some(buffer);
        }
    }

    /// Whether there is input.
    pub fn ready(&self) -> bool {
        self.reading.is_some() || self.queue.can_pop()
    }

    /// Copies what has arrived; `None` when the device returned what it never had.
    pub fn take(&mut self, device: &mut Device, bytes: &mut [u8]) -> Option<usize> {
        let mut taken = 0;
        while let Some(rest) = bytes.get_mut(taken..).filter(|rest| !rest.is_empty()) {
            let Some(mut filled) = self.reading.take() else {
                if !self.queue.can_pop() {
                    break;
                }
                self.reading = Some(self.pop()?);
                continue;
            };
            let count = rest.len().min(filled.to - filled.from);
            let from = self.buffer(filled.buffer).cast::<u8>().wrapping_add(filled.from);
            // SAFETY: `from` to `to` lie in a buffer that the device has given back.
            unsafe { core::ptr::copy_nonoverlapping(from, rest.as_mut_ptr(), count) };
            taken += count;
            filled.from += count;
            if filled.from < filled.to {
                self.reading = Some(filled);
            } else {
                self.offer(filled.buffer);
                device.kick(QUEUE, &self.queue);
            }
        }
        Some(taken)
    }

    fn pop(&mut self) -> Option<Filled> {
        let token = self.queue.peek_used()?;
        let buffer = self.by_token.get_mut(usize::from(token))?.take()?;
        let memory = self.buffer(buffer);
        // SAFETY: the same buffer as in `offer`.
        let length = unsafe { self.queue.pop_used(token, &[], &mut [&mut *memory]) }.ok()?;
        Some(Filled { buffer, from: 0, to: BUFFER_BYTES.min(length as usize) })
    }
}
