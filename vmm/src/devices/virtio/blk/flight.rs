//! A request between its arrival and its answer.
//!
//! Owns: which operations a request still needs ([`Flight`]), and the table of all that are in flight ([`Flights`]).
//! Stays outside: who does the operations (`engine`), when the driver is told (`device`).
//! Invariants: at most one operation of a flight is with the engine, and while it is, the flight stays in the
//! table, so its vectors stay valid and in place. Short transfers go on where they stopped.

use std::os::fd::RawFd;
use std::time::Instant;

use super::buffers::Durability;
use super::counters::RequestKind;
use super::engine::{Op, Vectors};
use super::geometry::MAX_QUEUES;
use super::image::DiskImage;
use super::request::Request;

/// Operations of one disk that the engine can have at once.
pub const MAX_OPERATIONS: u16 = 256;
/// Requests of one disk that can be in flight, over all queues: what is left beside a look for each queue.
pub const MAX_IN_FLIGHT: u16 = MAX_OPERATIONS - MAX_QUEUES;
/// The slot of the look at the stream of queue 0, the first one that no flight has.
pub const LOOK: u16 = MAX_IN_FLIGHT;

const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Fill the buffers from this byte offset on.
    Read(u64),
    /// Write the buffers from this byte offset on.
    Write(u64),
    /// Make completed writes stable.
    Sync,
    /// Give a range back to the file system; it reads as zeroes then.
    Punch {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Set a range to zero and keep its room.
    Zero {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Nothing.
    Nothing,
}

/// Whether a request needs another operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It does.
    Again,
    /// It is over, and went well or not.
    Over(bool),
}

/// See the module documentation.
pub struct Flight {
    /// What was asked for; its buffers shrink as they are moved.
    pub request: Request,
    /// Index of the queue that it came from.
    pub queue: usize,
    /// What it counts as.
    pub kind: RequestKind,
    /// First sector.
    pub sector: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// When it came.
    pub arrived: Instant,
    /// When it may be answered at the earliest.
    pub release: Option<Instant>,
    /// What is left to do.
    pub work: Work,
    /// It fails in any case.
    pub spoiled: bool,
    /// Bytes moved so far.
    pub moved: u64,
    /// Whether writes must be stable when it is answered.
    pub durability: Durability,
}

impl Flight {
    /// The next operation; `None` when there is none.
    pub fn next(&self, image: &DiskImage) -> Option<(RawFd, Op)> {
        let data = &self.request.data;
        let vectors = data.vectors();
        // At most 1024.
        let vectors = Vectors { first: vectors.as_ptr(), count: vectors.len() as u32 };
        match self.work {
            Work::Read(_) | Work::Write(_) if data.bytes() == 0 => None,
            Work::Nothing => None,
            Work::Read(start) => {
                let offset = start + self.moved;
                Some((image.descriptor_for(offset, data), Op::Read(vectors, offset)))
            }
            Work::Write(start) => {
                let offset = start + self.moved;
                let op = match self.durability {
                    Durability::Cached => Op::Write(vectors, offset),
                    Durability::Through => Op::WriteThrough(vectors, offset),
                };
                Some((image.descriptor_for(offset, data), op))
            }
            Work::Sync => Some((image.descriptor(), Op::Sync)),
            Work::Punch { offset, len } => {
                Some((image.descriptor(), Op::Allocate { mode: PUNCH, offset, len }))
            }
            Work::Zero { offset, len } => {
                Some((image.descriptor(), Op::Allocate { mode: ZERO, offset, len }))
            }
        }
    }

    /// The last operation has ended with `result`: bytes moved, or a negative error number.
    pub fn took(&mut self, result: i32) -> Step {
        if matches!(-result, libc::EINTR | libc::EAGAIN) {
            return Step::Again;
        }
        match (self.work, u64::try_from(result)) {
            (Work::Read(_) | Work::Write(_), Ok(moved @ 1..)) => {
                self.moved += moved;
                self.request.data.advance(moved);
                if self.request.data.bytes() == 0 { Step::Over(true) } else { Step::Again }
            }
            // Nothing moved: the file has become shorter.
            (Work::Read(_) | Work::Write(_), Ok(0)) => Step::Over(false),
            (Work::Punch { .. } | Work::Zero { .. }, Ok(_)) if self.durability == Durability::Through => {
                self.work = Work::Sync;
                Step::Again
            }
            (_, Ok(_)) => Step::Over(true),
            // Holes read as zeroes too, on file systems that know nothing better.
            (Work::Zero { offset, len }, Err(_)) if -result == libc::EOPNOTSUPP => {
                self.work = Work::Punch { offset, len };
                Step::Again
            }
            (_, Err(_)) => Step::Over(false),
        }
    }
}

/// The flights of one disk by slot.
#[derive(Default)]
pub struct Flights {
    /// As many as were ever in flight at once.
    slots: Vec<Option<Flight>>,
    free: Vec<u16>,
}

impl Flights {
    /// Whether there is no room for another.
    pub fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= MAX_IN_FLIGHT.into()
    }

    /// Whether none is in flight.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Takes in a flight; gives it back when there is no room.
    pub fn insert(&mut self, flight: Flight) -> Result<u16, Box<Flight>> {
        if self.is_full() {
            return Err(Box::new(flight));
        }
        if let Some(slot) = self.free.pop()
            && let Some(entry) = self.slots.get_mut(usize::from(slot))
        {
            *entry = Some(flight);
            return Ok(slot);
        }
        // Below `MAX_IN_FLIGHT`.
        let slot = self.slots.len() as u16;
        self.slots.push(Some(flight));
        Ok(slot)
    }

    /// The flight in `slot`.
    pub fn get_mut(&mut self, slot: u16) -> Option<&mut Flight> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    /// Takes out the flight in `slot`.
    pub fn remove(&mut self, slot: u16) -> Option<Flight> {
        let flight = self.slots.get_mut(usize::from(slot))?.take()?;
        self.free.push(slot);
        Some(flight)
    }
}
