//! A disk: checked requests, tickets, blocking helpers.
//!
//! Owns: the disk's identity and limits, and the life of a ticket. Stays outside: the queue (`ring`).
//! Invariants: no request leaves the disk's bounds or writes to a read-only disk; memory given to a request
//! stays the device's until its ticket says that it is done.
//!
//! Lock order: the wait queues of a disk are never touched with its ring locked.

use super::counters::{Counters, Totals};
use super::ring::Ring;
use super::slots::{Outcome, Slots};
use super::wire::{ID_BYTES, Kind};
use super::{BlkError, MAX_SEGMENTS, SECTOR_BYTES};
use crate::arch::{cpu, time};
use crate::machine::{CPU, MACHINE};
use crate::memory;
use crate::task::WaitQueue;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use mm::addr::PhysAddr;
use mm::port::{Machine, PhysMem};
use mm::sync::SpinLock;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fill memory from the disk.
    Read {
        /// First sector.
        sector: u64,
    },
    /// Write memory to the disk.
    Write {
        /// First sector.
        sector: u64,
    },
    /// Make all completed writes stable.
    Flush,
}

/// A physically contiguous piece of a request's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub addr: PhysAddr,
    /// Length in bytes: not 0; all segments of a request together are whole sectors.
    pub bytes: u32,
}

impl Segment {
    /// The memory of `buffer`, which must lie in the direct map or the image.
    fn of(buffer: NonNull<[u8]>) -> Result<Self, BlkError> {
        let addr = memory::phys_of(buffer.cast()).ok_or(BlkError::Invalid)?;
        Ok(Self { addr, bytes: u32::try_from(buffer.len()).map_err(|_| BlkError::Invalid)? })
    }

    /// How the kernel sees the memory; `None` when it is not in the direct map.
    fn pointer(&self) -> Option<NonNull<[u8]>> {
        let bytes = u64::from(self.bytes);
        let last = self.addr.checked_add(bytes.checked_sub(1)?)?;
        MACHINE.physmem().ptr(last)?;
        let first = MACHINE.physmem().ptr(self.addr)?;
        Some(NonNull::slice_from_raw_parts(first, self.bytes as usize))
    }
}

/// What the device says of a disk when it is found.
pub struct Limits {
    /// Size in sectors.
    pub sectors: u64,
    /// Writes fail.
    pub read_only: bool,
    /// The device has a cache, so flushes mean something.
    pub has_cache: bool,
    /// Data segments that the device takes in one request.
    pub segments: usize,
}

/// A disk. Lives for good.
pub struct Disk {
    index: usize,
    line: usize,
    limits: Limits,
    ring: SpinLock<Ring>,
    slots: Slots,
    /// Tasks that wait for a slot or descriptors.
    room: WaitQueue,
    counters: Counters,
}

/// What a disk calls itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Serial([u8; ID_BYTES]);

impl Serial {
    /// The name without the zeroes at its end.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(ID_BYTES);
        self.0.get(..end).unwrap_or_default()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl Disk {
    /// The disk number `index` on interrupt line `line`.
    pub fn new(index: usize, line: usize, limits: Limits, ring: Ring) -> Self {
        Self {
            index,
            line,
            limits,
            ring: SpinLock::new(ring),
            slots: Slots::new(),
            room: WaitQueue::new(),
            counters: Counters::default(),
        }
    }

    /// Interrupt line.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Last letter of its name: `vda`, `vdb`...
    pub fn letter(&self) -> char {
        char::from(b'a' + (self.index % 26) as u8)
    }

    /// Size in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.limits.sectors
    }

    /// Whether every write fails.
    pub fn is_read_only(&self) -> bool {
        self.limits.read_only
    }

    /// What the disk has done so far.
    pub fn counters(&self) -> Totals {
        self.counters.totals()
    }

    /// What the disk calls itself; empty when it has no name.
    pub fn serial(&self) -> Serial {
        let ring = self.ring.lock(&CPU);
        // SAFETY: the driver's page; the device wrote the name when the disk was found, and never again.
        Serial(unsafe { ring.id().cast::<[u8; ID_BYTES]>().read_volatile() })
    }

    /// Starts a request as soon as there is room for it.
    ///
    /// # Errors
    /// [`BlkError::Invalid`] before anything is done; [`BlkError::Unsupported`]; [`BlkError::Lost`].
    ///
    /// # Safety
    /// The memory of `segments` belongs to the request until its ticket says that it is done, even when the
    /// ticket is dropped before.
    pub unsafe fn submit(
        &'static self,
        operation: Operation,
        segments: &[Segment],
    ) -> Result<Ticket, BlkError> {
        loop {
            // SAFETY: by the caller.
            match unsafe { self.try_submit(operation, segments) } {
                Err(BlkError::Full) => self.room.wait_until(|| self.has_room(segments.len())),
                result => return result,
            }
        }
    }

    /// Starts a request if there is room for it; does not wait.
    ///
    /// # Errors
    /// As [`Disk::submit`], and [`BlkError::Full`] when as much is in flight as can be.
    ///
    /// # Safety
    /// As [`Disk::submit`].
    pub unsafe fn try_submit(
        &'static self,
        operation: Operation,
        segments: &[Segment],
    ) -> Result<Ticket, BlkError> {
        let (kind, sector) = self.check(operation, segments)?;
        if segments.iter().any(|segment| segment.pointer().is_none()) {
            return Err(BlkError::Invalid);
        }
        let empty = NonNull::slice_from_raw_parts(NonNull::dangling(), 0);
        let pointers = segments.iter().map(|segment| segment.pointer().unwrap_or(empty));
        // SAFETY: every pointer was just found to be there; the rest by the caller.
        unsafe { self.start(kind, sector, pointers) }
    }

    /// Asks for the disk's name, which then is in [`Disk::serial`]. Once, when the disk is found.
    pub fn ask_name(&'static self) -> Result<Ticket, BlkError> {
        let id = self.ring.lock(&CPU).id();
        // SAFETY: the name's memory is the driver's and read only after the request.
        unsafe { self.start(Kind::Id, 0, [id].into_iter()) }
    }

    /// # Safety
    /// As [`Ring::submit`], less the slot.
    unsafe fn start(
        &'static self,
        kind: Kind,
        sector: u64,
        data: impl DoubleEndedIterator<Item = NonNull<[u8]>> + ExactSizeIterator,
    ) -> Result<Ticket, BlkError> {
        let slot = self.slots.claim().ok_or(BlkError::Full)?;
        // SAFETY: the slot is ours; the rest by the caller.
        let submitted = unsafe { self.ring.lock(&CPU).submit(slot, kind, sector, data) };
        match submitted {
            Ok(()) => Ok(Ticket { disk: self, slot }),
            Err(error) => {
                self.slots.release(slot);
                self.room.wake_all();
                Err(error)
            }
        }
    }

    fn check(&self, operation: Operation, segments: &[Segment]) -> Result<(Kind, u64), BlkError> {
        let (kind, sector) = match operation {
            Operation::Flush if !segments.is_empty() => return Err(BlkError::Invalid),
            Operation::Flush if !self.limits.has_cache => return Err(BlkError::Unsupported),
            Operation::Flush => return Ok((Kind::Flush, 0)),
            Operation::Read { sector } => (Kind::Read, sector),
            Operation::Write { .. } if self.limits.read_only => return Err(BlkError::ReadOnly),
            Operation::Write { sector } => (Kind::Write, sector),
        };
        let bytes: u64 = segments.iter().map(|segment| u64::from(segment.bytes)).sum();
        let end = sector.checked_add(bytes / SECTOR_BYTES).ok_or(BlkError::Invalid)?;
        let whole = bytes != 0 && bytes.is_multiple_of(SECTOR_BYTES);
        if whole && end <= self.limits.sectors && segments.len() <= self.max_segments() {
            Ok((kind, sector))
        } else {
            Err(BlkError::Invalid)
        }
    }

    /// Segments that one request can have.
    pub fn max_segments(&self) -> usize {
        self.limits.segments.min(MAX_SEGMENTS)
    }

    fn has_room(&self, segments: usize) -> bool {
        self.slots.any_free() && self.ring.lock(&CPU).has_room(segments)
    }

    /// Fills `buffer`, which lies in the direct map or the image, from `sector` on. The task sleeps meanwhile.
    pub fn read_sectors(&'static self, sector: u64, buffer: &mut [u8]) -> Outcome {
        let segment = Segment::of(NonNull::from(&mut *buffer))?;
        // SAFETY: the buffer is borrowed until the request is done.
        unsafe { self.submit(Operation::Read { sector }, &[segment]) }?.wait()
    }

    /// Writes `buffer`, which lies in the direct map or the image, from `sector` on. The task sleeps meanwhile.
    pub fn write_sectors(&'static self, sector: u64, buffer: &[u8]) -> Outcome {
        let segment = Segment::of(NonNull::from(buffer))?;
        // SAFETY: the buffer is borrowed until the request is done; the device only reads it.
        unsafe { self.submit(Operation::Write { sector }, &[segment]) }?.wait()
    }

    /// Makes all completed writes stable. A disk without a cache has nothing to do.
    pub fn flush(&'static self) -> Outcome {
        if !self.limits.has_cache {
            return Ok(());
        }
        // SAFETY: a flush has no memory.
        unsafe { self.submit(Operation::Flush, &[]) }?.wait()
    }

    /// Takes in what the device has finished, if anything.
    fn poll(&self) {
        let mut ring = self.ring.lock(&CPU);
        if ring.any_finished() {
            let finished = ring.drain(&self.slots, &self.counters);
            drop(ring);
            self.announce(finished);
        }
    }

    /// The disk's line was raised.
    pub fn on_interrupt(&self) {
        let mut ring = self.ring.lock(&CPU);
        let mut finished = ring.drain(&self.slots, &self.counters);
        if ring.is_suspicious(finished) {
            finished |= ring.check(&self.slots, &self.counters);
        }
        drop(ring);
        self.announce(finished);
    }

    /// Gives the device up: every request fails from now on.
    pub fn give_up(&self) {
        let failed = self.ring.lock(&CPU).give_up(&self.slots, &self.counters);
        self.announce(failed);
    }

    fn announce(&self, finished: u64) {
        let mut rest = finished;
        while rest != 0 {
            self.slots.wake(rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
        if finished != 0 {
            self.room.wake_all();
        }
    }
}

/// A request in flight. Dropping it gives up the result, not the request.
#[must_use = "the memory of the request is the device's until the ticket says that it is done"]
pub struct Ticket {
    disk: &'static Disk,
    slot: usize,
}

impl Ticket {
    /// Sleeps until the request is done.
    pub fn wait(self) -> Outcome {
        loop {
            self.disk.slots.wait(self.slot);
            if let Some(outcome) = self.disk.slots.take(self.slot) {
                return self.spent(outcome);
            }
        }
    }

    /// Polls the device for up to `ns` nanoseconds, without interrupts or tasks. Gives the ticket back when
    /// the request is still not done.
    pub fn wait_polled(self, ns: u64) -> Result<Outcome, Self> {
        let (start, limit) = (cpu::rdtsc(), time::ns_to_tsc(ns));
        loop {
            self.disk.poll();
            if let Some(outcome) = self.disk.slots.take(self.slot) {
                return Ok(self.spent(outcome));
            }
            if cpu::rdtsc().wrapping_sub(start) > limit {
                return Err(self);
            }
            core::hint::spin_loop();
        }
    }

    /// The slot is free: there is nothing left to abandon.
    fn spent(self, outcome: Outcome) -> Outcome {
        let spent = ManuallyDrop::new(self);
        spent.disk.room.wake_all();
        outcome
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.disk.slots.abandon(self.slot);
        self.disk.room.wake_all();
    }
}
