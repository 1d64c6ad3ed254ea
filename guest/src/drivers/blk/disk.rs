//! A disk: checked requests, blocking helpers, interrupts.
//!
//! Owns: the disk's identity, its limits and the device. Stays outside: its queues (`lane`), who holds a request
//! (`ticket`).
//! Invariants: no request leaves the disk's bounds or writes to a read-only disk; memory given to a request
//! stays the device's until its ticket says that it is done.
//!
//! Lock order: no two of the device, a queue's ring and a wait queue are locked at once.

use super::counters::{Counters, Totals};
use super::lane::{Lane, Look, Tell};
use super::port;
use super::ring::Ring;
use super::slots::Outcome;
use super::ticket::Ticket;
use super::wire::{ID_BYTES, Kind};
use super::{BlkError, MAX_DISKS, MAX_SEGMENTS, SECTOR_BYTES};
use crate::arch::percpu;
use crate::drivers::virtio::{Cause, Device};
use crate::machine::{CPU, MACHINE};
use crate::memory;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
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

    /// Whether all of it is RAM in the direct map.
    fn is_mapped(&self) -> bool {
        let last = u64::from(self.bytes).checked_sub(1).and_then(|last| self.addr.checked_add(last));
        let mapped = |addr: PhysAddr| MACHINE.physmem().ptr(addr).is_some();
        last.is_some_and(mapped) && mapped(self.addr)
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
    /// Sectors that it gives back in one request; 0 if it does not.
    pub discard: u32,
}

/// A disk. Lives for good.
pub struct Disk {
    index: usize,
    line: usize,
    limits: Limits,
    device: SpinLock<Device>,
    /// Its queues; at least one.
    lanes: &'static [Lane],
    counters: Counters,
    /// It was said not to turn.
    nonrot: AtomicBool,
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
    /// The disk number `index` on interrupt line `line`: a device that was started with these queues.
    pub fn new(index: usize, line: usize, limits: Limits, device: Device, lanes: &'static [Lane]) -> Self {
        let device = SpinLock::new(device);
        let (counters, nonrot) = (Counters::default(), AtomicBool::new(false));
        Self { index, line, limits, device, lanes, counters, nonrot }
    }

    /// Interrupt line.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Last letter of its name: `vda`, `vdb`...
    pub fn letter(&self) -> char {
        char::from(b'a' + (self.index % 26) as u8)
    }

    /// Its name: `vda`, `vdb`...
    pub fn name(&self) -> &'static str {
        const NAMES: [&str; MAX_DISKS] = [
            "vda", "vdb", "vdc", "vdd", "vde", "vdf", "vdg", "vdh", "vdi", "vdj", "vdk", "vdl", "vdm", "vdn",
            "vdo", "vdp", "vdq", "vdr", "vds", "vdt", "vdu", "vdv", "vdw", "vdx", "vdy", "vdz",
        ];
        NAMES[self.index % MAX_DISKS]
    }

    /// Whether what is written is not stable before a flush.
    pub fn has_cache(&self) -> bool {
        self.limits.has_cache
    }

    /// Size in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.limits.sectors
    }

    /// Whether every write fails.
    pub fn is_read_only(&self) -> bool {
        self.limits.read_only
    }

    /// Whether it turns. No device says so, and Linux takes it to, until somebody says that it does not.
    pub fn is_rotational(&self) -> bool {
        !self.nonrot.load(Ordering::Relaxed)
    }

    /// It does not turn.
    pub fn set_nonrot(&self) {
        self.nonrot.store(true, Ordering::Relaxed);
    }

    /// What the disk has done so far.
    pub fn counters(&self) -> Totals {
        self.counters.totals()
    }

    /// Its queues.
    pub fn queues(&self) -> usize {
        self.lanes.len()
    }

    /// What the disk calls itself; empty when it has no name.
    pub fn serial(&self) -> Serial {
        Serial(self.lane(0).ring.lock(&CPU).id())
    }

    /// Queue `index`, counting round.
    pub(super) fn lane(&self, index: usize) -> &'static Lane {
        &self.lanes[index % self.lanes.len()]
    }

    /// The index of the queue of the CPU that asks. It may move at any time, which costs nothing but speed.
    pub(super) fn nearest(&self) -> usize {
        percpu::cpu() as usize % self.lanes.len()
    }

    /// The disk's counters, for those who move them.
    pub(super) fn counting(&self) -> &Counters {
        &self.counters
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
            let index = self.nearest();
            // SAFETY: by the caller.
            match unsafe { self.try_submit(index, operation, segments) } {
                Err(BlkError::Full) => self.wait_for_room(index, segments.len()),
                result => {
                    self.kick(index);
                    return result;
                }
            }
        }
    }

    /// Starts a request on queue `index` if there is room for it; does not wait. The device may not know of it before
    /// [`Disk::kick`].
    ///
    /// # Errors
    /// As [`Disk::submit`], and [`BlkError::Full`] when as much is in flight as can be.
    ///
    /// # Safety
    /// As [`Disk::submit`].
    pub(super) unsafe fn try_submit(
        &'static self,
        index: usize,
        operation: Operation,
        segments: &[Segment],
    ) -> Result<Ticket, BlkError> {
        let (kind, sector) = self.check(operation, segments)?;
        if !segments.iter().all(Segment::is_mapped) {
            return Err(BlkError::Invalid);
        }
        // SAFETY: by the caller.
        unsafe { self.start(index, kind, sector, segments) }
    }

    /// Tells the device of requests on queue `index`, if it wants to know.
    pub(super) fn kick(&self, index: usize) {
        self.lane(index).ring.lock(&CPU).kick(&self.counters);
    }

    /// Asks for the disk's name, which then is in [`Disk::serial`]. Once, when the disk is found.
    pub fn ask_name(&'static self) -> Result<Ticket, BlkError> {
        let id = self.lane(0).ring.lock(&CPU).id_segment();
        // SAFETY: the name's memory is the driver's and read only after the request.
        let ticket = unsafe { self.start(0, Kind::Id, 0, &[id]) };
        self.kick(0);
        ticket
    }

    /// # Safety
    /// As `Ring::submit`, less the slot.
    unsafe fn start(
        &'static self,
        index: usize,
        kind: Kind,
        sector: u64,
        segments: &[Segment],
    ) -> Result<Ticket, BlkError> {
        let lane = self.lane(index);
        let slot = lane.slots.claim().ok_or(BlkError::Full)?;
        // SAFETY: the slot is ours; the rest by the caller.
        let submitted = unsafe { lane.ring.lock(&CPU).submit(slot, kind, sector, segments) };
        match submitted {
            Ok(()) => Ok(Ticket::new(self, index, slot)),
            Err(error) => {
                lane.slots.release(slot);
                lane.room.wake_all();
                Err(error)
            }
        }
    }

    /// As [`Disk::try_submit`], for a request whose end is told with `cookie`.
    ///
    /// # Safety
    /// As [`Disk::submit`], until the end is told.
    pub(super) unsafe fn send_told(
        &self,
        index: usize,
        operation: Operation,
        segments: &[Segment],
        cookie: u64,
    ) -> Result<(), BlkError> {
        let (kind, sector) = self.check(operation, segments)?;
        // SAFETY: the slot is claimed; the rest by the caller.
        self.tell_end(index, cookie, |ring, slot| unsafe { ring.submit(slot, kind, sector, segments) })
    }

    /// The same for a request to give `bytes` bytes from `sector` on back.
    pub(super) fn send_discard(
        &self,
        index: usize,
        sector: u64,
        bytes: u64,
        cookie: u64,
    ) -> Result<(), BlkError> {
        if self.limits.discard == 0 {
            return Err(BlkError::Unsupported);
        }
        let sectors = bytes / SECTOR_BYTES;
        let end = sector.checked_add(sectors).filter(|_| bytes.is_multiple_of(SECTOR_BYTES) && bytes != 0);
        if sectors > self.limits.discard.into() || end.is_none_or(|end| end > self.limits.sectors) {
            return Err(BlkError::Invalid);
        }
        self.tell_end(index, cookie, |ring, slot| ring.discard(slot, sector, sectors as u32))
    }

    /// Sectors that one request can give back.
    pub fn max_discard(&self) -> u64 {
        self.limits.discard.into()
    }

    /// Hands a request to queue `index`, whose end is told with `cookie`.
    fn tell_end(
        &self,
        index: usize,
        cookie: u64,
        hand_over: impl FnOnce(&mut Ring, usize) -> Result<(), BlkError>,
    ) -> Result<(), BlkError> {
        let lane = self.lane(index);
        let slot = lane.slots.claim().ok_or(BlkError::Full)?;
        lane.slots.tell(slot, cookie);
        hand_over(&mut lane.ring.lock(&CPU), slot).inspect_err(|_| {
            lane.slots.forget(slot);
            lane.room.wake_all();
        })
    }

    /// Sleeps until queue `index` has room for a request of so many segments.
    pub(super) fn wait_for_room(&self, index: usize, segments: usize) {
        let lane = self.lane(index);
        lane.room.wait_until(|| lane.slots.any_free() && lane.ring.lock(&CPU).has_room(segments));
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

    /// Takes in what the device has finished on queue `index`, if anything. Returns whether there was something.
    pub(super) fn poll(&self, index: usize) -> bool {
        self.poll_telling(index, &mut port::tell)
    }

    /// The same, and `tell` hears of requests that have no ticket.
    pub(super) fn poll_telling(&self, index: usize, tell: Tell<'_>) -> bool {
        match self.lane(index).poll(&self.counters, tell) {
            Look::Nothing => false,
            Look::Finished => true,
            Look::Broken => {
                self.give_up();
                true
            }
        }
    }

    /// Whether queue `index` has requests, or somebody is yet to be told of one, after what is finished was taken in.
    pub fn is_busy(&self, index: usize) -> bool {
        self.poll(index);
        self.lane(index).is_busy()
    }

    /// The disk's line was raised.
    pub fn on_interrupt(&self) {
        self.counters.interrupt();
        let cause = self.device.lock(&CPU).acknowledge();
        let (mut finished, mut broken) = (false, false);
        for lane in self.lanes {
            let look = lane.drain(&self.counters, &mut port::tell);
            finished |= look != Look::Nothing;
            broken |= look == Look::Broken;
        }
        let is_busy = || self.lanes.iter().any(|lane| lane.ring.lock(&CPU).is_busy());
        // Where only the status tells that a device has failed, it is looked at when an interrupt brought nothing: that
        // costs an exit.
        let suspicious = cause == Cause::Configuration || !finished && is_busy();
        if broken || suspicious && self.device.lock(&CPU).has_failed() {
            self.give_up();
        }
    }

    /// Gives the device up: every request fails from now on.
    pub fn give_up(&self) {
        self.device.lock(&CPU).stop();
        for lane in self.lanes {
            lane.lose(&self.counters);
        }
    }
}
