//! The queue of one disk: requests go in, finished ones come out.
//!
//! Owns: the device, its one queue and what is in flight. Stays outside: who waits (`slots`), checks against
//! the size of the disk (`disk`). Everything here runs under the disk's lock.
//! Invariants: a token of the queue belongs to exactly one busy slot. A device that returns anything else, or
//! says that it has failed, is stopped, and every request that it had fails.

use super::counters::Counters;
use super::segments::{List, Pool};
use super::slots::Slots;
use super::wire::{Kind, STATUS_OK, STATUS_UNSUPPORTED, Wire};
use super::{BlkError, MAX_IN_FLIGHT};
use crate::drivers::virtio::{Cause, Device, Dma, Unusable, unmask_queue};
use core::ptr::NonNull;
use virtio_drivers::queue::VirtQueue;

/// Index of the only queue.
const QUEUE: u16 = 0;
/// Descriptors of the queue; a request takes two and one for each data segment.
const QUEUE_SIZE: usize = 256;
/// Descriptors of a request beside its data.
const OVERHEAD: usize = 2;

/// No slot has this token.
const NO_SLOT: u8 = u8::MAX;

/// A request with the device.
#[derive(Clone, Copy)]
struct Flight {
    kind: Kind,
    bytes: u64,
    data: List,
}

/// See the module documentation.
pub struct Ring {
    device: Device,
    queue: VirtQueue<Dma, QUEUE_SIZE>,
    wire: Wire,
    pool: Pool<QUEUE_SIZE>,
    flights: [Flight; MAX_IN_FLIGHT],
    by_token: [u8; QUEUE_SIZE],
    /// A bit for each slot that the device has.
    busy: u64,
    lost: bool,
}

impl Ring {
    /// Sets up the queue of a device that has accepted us, and starts it.
    pub fn new(mut device: Device, queue: VirtQueue<Dma, QUEUE_SIZE>, wire: Wire) -> Self {
        device.start();
        let idle = Flight { kind: Kind::Flush, bytes: 0, data: List::EMPTY };
        Self {
            device,
            queue,
            wire,
            pool: Pool::new(),
            flights: [idle; MAX_IN_FLIGHT],
            by_token: [NO_SLOT; QUEUE_SIZE],
            busy: 0,
            lost: false,
        }
    }

    /// The queue of a device that has accepted us.
    pub fn queue(device: &mut Device) -> Result<VirtQueue<Dma, QUEUE_SIZE>, Unusable> {
        device.queue(QUEUE)
    }

    /// Whether a request of so many segments has no need to wait: there is room, or it fails anyway.
    pub fn has_room(&self, segments: usize) -> bool {
        self.lost || self.queue.available_desc() >= segments + OVERHEAD
    }

    /// The memory of the disk's name.
    pub fn id(&self) -> NonNull<[u8]> {
        self.wire.id()
    }

    /// Hands a request to the device.
    ///
    /// # Safety
    /// `data` is mapped memory in the direct map or the image, at most `MAX_SEGMENTS` ranges and none empty,
    /// that nobody else touches until the slot completes. The slot is claimed and not with the device.
    pub unsafe fn submit(
        &mut self,
        slot: usize,
        kind: Kind,
        sector: u64,
        data: impl DoubleEndedIterator<Item = NonNull<[u8]>> + ExactSizeIterator,
    ) -> Result<(), BlkError> {
        if self.lost {
            return Err(BlkError::Lost);
        }
        if !self.has_room(data.len()) {
            return Err(BlkError::Full);
        }
        let mut flight = Flight { kind, bytes: 0, data: List::EMPTY };
        // A list is read from its last entry, so the last segment goes in first.
        for segment in data.rev() {
            flight.bytes += segment.len() as u64;
            if !self.pool.push(&mut flight.data, segment) {
                self.pool.release(&mut flight.data);
                return Err(BlkError::Full);
            }
        }
        self.wire.prepare(slot, kind, sector);
        let queue = &mut self.queue;
        // SAFETY: the buffers live until the slot completes: the data by the caller, the rest in the wire
        // page. They go to the queue and nowhere else.
        let added = unsafe {
            self.wire.buffers(slot, kind, self.pool.iter(flight.data), |readable, writable| {
                queue.add(readable, writable)
            })
        };
        match added {
            Ok(token) => {
                // The queue gives out its own descriptor numbers.
                self.by_token[usize::from(token) % QUEUE_SIZE] = slot as u8;
                self.flights[slot % MAX_IN_FLIGHT] = flight;
                self.busy |= 1 << slot;
                self.device.kick(QUEUE, &self.queue);
                Ok(())
            }
            Err(_) => {
                self.pool.release(&mut flight.data);
                Err(BlkError::Full)
            }
        }
    }

    /// Whether the device has finished anything. Costs no exit.
    pub fn any_finished(&self) -> bool {
        !self.lost && self.queue.can_pop()
    }

    /// Takes in what the device has finished. Returns a bit for each slot that is now complete.
    pub fn drain(&mut self, slots: &Slots, counters: &Counters) -> u64 {
        let mut finished = 0;
        if self.lost {
            return finished;
        }
        let cause = self.device.acknowledge();
        self.queue.set_dev_notify(false);
        loop {
            while let Some(token) = self.queue.peek_used() {
                match self.finish(token, slots, counters) {
                    Some(slot) => finished |= 1 << slot,
                    None => return finished | self.give_up(slots, counters),
                }
            }
            if !unmask_queue(&mut self.queue) {
                break;
            }
            self.queue.set_dev_notify(false);
        }
        if cause == Cause::Configuration {
            finished |= self.check(slots, counters);
        }
        finished
    }

    /// After an interrupt that brought `finished`: whether something else may have caused it too, so that the
    /// device should be asked how it is.
    pub fn is_suspicious(&self, finished: u64) -> bool {
        self.device.must_ask() && (finished == 0 || self.busy != 0)
    }

    /// Asks the device whether it has failed, and gives it up if so. Returns as [`Ring::drain`].
    pub fn check(&mut self, slots: &Slots, counters: &Counters) -> u64 {
        if !self.lost && self.device.has_failed() { self.give_up(slots, counters) } else { 0 }
    }

    /// Takes one finished request off the queue; `None` when the device returned what it never had.
    fn finish(&mut self, token: u16, slots: &Slots, counters: &Counters) -> Option<usize> {
        let entry = self.by_token.get_mut(usize::from(token)).filter(|slot| **slot != NO_SLOT)?;
        let slot = usize::from(core::mem::replace(entry, NO_SLOT));
        let mut flight = *self.flights.get(slot)?;
        let queue = &mut self.queue;
        // SAFETY: the same slot, kind and segments as in `submit`, so the same buffers.
        let popped = unsafe {
            self.wire.buffers(slot, flight.kind, self.pool.iter(flight.data), |readable, writable| {
                queue.pop_used(token, readable, writable)
            })
        };
        self.pool.release(&mut flight.data);
        self.busy &= !(1 << slot);
        let outcome = match (popped, self.wire.status(slot)) {
            (Ok(_), STATUS_OK) => Ok(()),
            (Ok(_), STATUS_UNSUPPORTED) => Err(BlkError::Unsupported),
            _ => Err(BlkError::Io),
        };
        match outcome {
            Ok(()) => counters.success(flight.kind, flight.bytes),
            Err(_) => counters.error(),
        }
        slots.complete(slot, outcome);
        Some(slot)
    }

    /// Stops the device and fails what it had.
    pub fn give_up(&mut self, slots: &Slots, counters: &Counters) -> u64 {
        self.device.stop();
        self.lost = true;
        let failed = core::mem::take(&mut self.busy);
        for slot in (0..MAX_IN_FLIGHT).filter(|slot| failed & 1 << slot != 0) {
            counters.error();
            slots.complete(slot, Err(BlkError::Lost));
        }
        failed
    }
}
