//! One queue of a disk: requests go in, finished ones come out.
//!
//! Owns: the queue and what is in flight. Stays outside: the device, who waits (`slots`), checks against the size of
//! the disk (`disk`). Everything here runs under the queue's lock.
//! Invariants: a token of the queue is a busy slot. A device that returns anything else is to be stopped, and then
//! every request that it had fails.

use super::counters::Counters;
use super::slots::{Finished, Outcome, SlotSet, Slots, each};
use super::wire::{ID_BYTES, Kind, OVERHEAD, STATUS_OK, STATUS_UNSUPPORTED, Wire};
use super::{BlkError, MAX_IN_FLIGHT, SECTOR_BYTES, Segment};
use crate::drivers::virtio::{Device, Doorbell, Unusable};
use virtq::{Broken, Queue};

/// Descriptors of the queue. With indirect ones a request takes one, else two and one for each data segment.
pub const QUEUE_SIZE: usize = 256;

/// A request with the device.
#[derive(Clone, Copy)]
struct Flight {
    kind: Kind,
    bytes: u64,
}

/// See the module documentation.
pub struct Ring {
    queue: Queue<'static, QUEUE_SIZE>,
    doorbell: Doorbell,
    wire: Wire,
    indirect: bool,
    flights: [Flight; MAX_IN_FLIGHT],
    /// The slots that the device has.
    busy: SlotSet,
    /// Who polls and wants no interrupts.
    pollers: u32,
    lost: bool,
}

impl Ring {
    /// Sets up queue `index` of a device that has accepted us.
    pub fn new(device: &mut Device, index: u16, indirect: bool, event_idx: bool) -> Result<Self, Unusable> {
        let (mut queue, doorbell) = device.split_queue(index, event_idx)?;
        // There is nothing yet.
        let _ = queue.request_interrupt();
        Ok(Self {
            queue,
            doorbell,
            wire: Wire::new().ok_or(Unusable::NoMemory)?,
            indirect,
            flights: [Flight { kind: Kind::Flush, bytes: 0 }; MAX_IN_FLIGHT],
            busy: 0,
            pollers: 0,
            lost: false,
        })
    }

    /// Whether a request of so many segments has no need to wait: there is room, or it fails anyway.
    pub fn has_room(&self, segments: usize) -> bool {
        let needed = if self.indirect { 1 } else { segments + OVERHEAD };
        self.lost || self.queue.free() >= needed
    }

    /// Where the device puts the disk's name.
    pub fn id_segment(&self) -> Segment {
        self.wire.id_segment()
    }

    /// The disk's name.
    pub fn id(&self) -> [u8; ID_BYTES] {
        self.wire.id()
    }

    /// Hands a request to the device, which may begin. [`Ring::kick`] tells it.
    ///
    /// # Safety
    /// The memory of `segments`, at most `MAX_SEGMENTS` and none empty, is nobody else's until the slot completes.
    /// The slot is claimed and not with the device.
    pub unsafe fn submit(
        &mut self,
        slot: usize,
        kind: Kind,
        sector: u64,
        segments: &[Segment],
    ) -> Result<(), BlkError> {
        let bytes = segments.iter().map(|segment| u64::from(segment.bytes)).sum();
        // SAFETY: by the caller.
        unsafe { self.hand_over(slot, Flight { kind, bytes }, sector, segments) }
    }

    /// Asks the device to give `sectors` sectors from `sector` on back. The slot is claimed and not with the device.
    pub fn discard(&mut self, slot: usize, sector: u64, sectors: u32) -> Result<(), BlkError> {
        let range = self.wire.range_segment(slot, sector, sectors);
        let flight = Flight { kind: Kind::Discard, bytes: u64::from(sectors) * SECTOR_BYTES };
        // SAFETY: the memory is the driver's, and that of the slot.
        unsafe { self.hand_over(slot, flight, 0, &[range]) }
    }

    /// # Safety
    /// As [`Ring::submit`].
    unsafe fn hand_over(
        &mut self,
        slot: usize,
        flight: Flight,
        sector: u64,
        segments: &[Segment],
    ) -> Result<(), BlkError> {
        let kind = flight.kind;
        if self.lost {
            return Err(BlkError::Lost);
        }
        if !self.has_room(segments.len()) {
            return Err(BlkError::Full);
        }
        self.wire.prepare(slot, kind, sector);
        let buffers = self.wire.buffers(slot, kind, segments);
        let token = slot as u16;
        let added = if self.indirect {
            let (table, count) = self.wire.write_table(slot, buffers);
            self.queue.add_indirect(token, table, count)
        } else {
            self.queue.add(token, buffers)
        };
        added.map_err(|_| BlkError::Full)?;
        self.flights[slot % MAX_IN_FLIGHT] = flight;
        self.busy |= 1 << slot;
        Ok(())
    }

    /// Tells the device of what was handed to it, if it wants to know.
    pub fn kick(&mut self, counters: &Counters) {
        if !self.lost && self.queue.wants_kick() {
            counters.kick();
            self.doorbell.ring();
        }
    }

    /// Whether the device has finished anything. Costs no exit.
    pub fn any_finished(&self) -> bool {
        !self.lost && self.queue.has_used()
    }

    /// Takes in what the device has finished. Returns the slots that are now complete.
    ///
    /// # Errors
    /// The same, when the device has broken the queue and must be stopped.
    pub fn drain(&mut self, slots: &Slots, counters: &Counters) -> Result<Finished, Finished> {
        let mut finished = Finished::default();
        while !self.lost {
            match self.queue.take() {
                Ok(Some(used)) => match self.finish(used.token, slots, counters, &mut finished) {
                    Some(()) => {}
                    None => return Err(finished),
                },
                Err(Broken) => return Err(finished),
                Ok(None) if self.pollers > 0 => {
                    self.queue.suppress_interrupts();
                    break;
                }
                Ok(None) if !self.queue.request_interrupt() => break,
                Ok(None) => {}
            }
        }
        Ok(finished)
    }

    /// Somebody polls from now on, so no interrupts are needed.
    pub fn start_polling(&mut self) {
        self.pollers += 1;
        self.queue.suppress_interrupts();
    }

    /// Undoes one [`Ring::start_polling`]; the queue must be drained afterwards.
    pub fn stop_polling(&mut self) {
        self.pollers = self.pollers.saturating_sub(1);
    }

    /// Whether the device has requests.
    pub fn is_busy(&self) -> bool {
        self.busy != 0
    }

    /// Takes in one finished request; `None` when the slot is not with the device.
    fn finish(
        &mut self,
        token: u16,
        slots: &Slots,
        counters: &Counters,
        finished: &mut Finished,
    ) -> Option<()> {
        let slot = usize::from(token);
        let flight = *self.flights.get(slot).filter(|_| self.busy & 1 << slot != 0)?;
        self.busy &= !(1 << slot);
        let outcome: Outcome = match self.wire.status(slot) {
            STATUS_OK => Ok(()),
            STATUS_UNSUPPORTED => Err(BlkError::Unsupported),
            _ => Err(BlkError::Io),
        };
        match outcome {
            Ok(()) => {
                counters.success(flight.kind, flight.bytes);
                if !slots.is_told(slot) {
                    counters.book_other(flight.kind, flight.bytes);
                }
            }
            Err(_) => counters.error(),
        }
        slots.complete(slot, outcome, finished);
        Some(())
    }

    /// The device has been stopped: fails what it had. Returns as [`Ring::drain`].
    pub fn lose(&mut self, slots: &Slots, counters: &Counters) -> Finished {
        self.lost = true;
        let mut failed = Finished::default();
        for slot in each(core::mem::take(&mut self.busy)) {
            counters.error();
            slots.complete(slot, Err(BlkError::Lost), &mut failed);
        }
        failed
    }
}
