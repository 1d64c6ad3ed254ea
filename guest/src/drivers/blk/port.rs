//! The disk as `mm` knows it: whole pages, and requests whose end is told instead of waited for.
//!
//! Owns: whom the ends are told to. Invariants: a request that was taken is told of once, by the interrupt or by whoever
//! looks first, with no lock held; nothing is allocated. Requests that do not fit wait if their sender may wait.

use super::disk::{Disk, Operation, Segment};
use super::slots::Outcome;
use super::{BlkError, MAX_SEGMENTS, Submitter};
use crate::arch::cpu;
use crate::machine::CPU;
use crate::task;
use core::sync::atomic::{AtomicPtr, Ordering};
use mm::addr::{PAGE_SIZE, Pfn, PhysAddr};
use mm::port::{BlockDevice, Cpu, IoError, IoOp, IoRequest, Ledger};

/// Whoever is told how a request with a cookie has ended; may run with interrupts masked.
pub type OnEnd = fn(u64, Result<(), IoError>);

static ON_END: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// From here on disks take requests with cookies, and `told` hears of their ends. Once.
pub fn tell_ends_to(told: OnEnd) {
    ON_END.store(told as *mut (), Ordering::Release);
}

/// Tells that the request with this cookie has ended.
pub(super) fn tell(cookie: u64, outcome: Outcome) {
    let raw = ON_END.load(Ordering::Acquire);
    if !raw.is_null() {
        // SAFETY: the word holds null or an `OnEnd`, from `tell_ends_to` only.
        let told = unsafe { core::mem::transmute::<*mut (), OnEnd>(raw) };
        told(cookie, outcome.map_err(to_io_error));
    }
}

fn to_io_error(error: BlkError) -> IoError {
    match error {
        BlkError::Io | BlkError::Lost => IoError::Io,
        BlkError::Unsupported => IoError::Unsupported,
        BlkError::Full => IoError::Busy,
        BlkError::ReadOnly => IoError::ReadOnly,
        BlkError::Invalid => IoError::Invalid,
    }
}

/// The memory of a request: neighbours are one piece.
struct Pieces {
    pieces: [Segment; MAX_SEGMENTS],
    len: usize,
}

impl Pieces {
    const fn new() -> Self {
        let none = Segment { addr: PhysAddr::truncate(0), bytes: 0 };
        Self { pieces: [none; MAX_SEGMENTS], len: 0 }
    }

    /// Adds `bytes` bytes of `pages`, where they are; `None` if there are more pages than a request has, or fewer than it
    /// needs.
    fn add(&mut self, pages: &[Pfn], bytes: u64) -> Option<()> {
        let mut left = bytes;
        for page in pages.iter().map(|pfn| pfn.addr()) {
            let here = left.min(PAGE_SIZE);
            left -= here;
            match self.len.checked_sub(1).and_then(|last| self.pieces.get_mut(last)) {
                Some(last) if last.addr.checked_add(last.bytes.into()) == Some(page) => {
                    last.bytes += here as u32;
                }
                _ => {
                    *self.pieces.get_mut(self.len)? = Segment { addr: page, bytes: here as u32 };
                    self.len += 1;
                }
            }
        }
        (left == 0).then_some(())
    }

    fn as_slice(&self) -> &[Segment] {
        self.pieces.get(..self.len).unwrap_or_default()
    }
}

impl Disk {
    /// Sends a request of so many segments to the nearest queue as soon as there is room, if its sender may wait.
    fn send(
        &self,
        segments: usize,
        mut hand_over: impl FnMut(usize) -> Result<(), BlkError>,
    ) -> Result<(), IoError> {
        loop {
            let lane = self.nearest();
            match hand_over(lane) {
                Ok(()) => {
                    self.kick(lane);
                    return Ok(());
                }
                Err(BlkError::Full) if CPU.can_wait() => {
                    self.poll(lane);
                    self.wait_for_room(lane, segments);
                }
                Err(error) => return Err(to_io_error(error)),
            }
        }
    }

    fn submit_discard(&self, request: &IoRequest<'_>) -> Result<(), IoError> {
        let &IoRequest { sector, bytes, cookie, .. } = request;
        self.send(1, |lane| self.send_discard(lane, sector, bytes, cookie))
    }
}

impl BlockDevice for Disk {
    fn name(&self) -> &str {
        Disk::name(self)
    }

    fn sectors(&self) -> u64 {
        Disk::sectors(self)
    }

    fn is_read_only(&self) -> bool {
        Disk::is_read_only(self)
    }

    fn max_pages(&self) -> usize {
        self.max_segments()
    }

    fn max_discard(&self) -> u64 {
        Disk::max_discard(self)
    }

    fn is_rotational(&self) -> bool {
        Disk::is_rotational(self)
    }

    fn ledger(&self) -> &Ledger {
        &self.counting().ledger
    }

    unsafe fn submit(&self, request: &IoRequest<'_>) -> Result<(), IoError> {
        let sector = request.sector;
        let operation = match request.op {
            IoOp::Read => Operation::Read { sector },
            IoOp::Write => Operation::Write { sector },
            IoOp::Flush => Operation::Flush,
            IoOp::Discard => return self.submit_discard(request),
        };
        if operation == Operation::Flush && !self.has_cache() {
            // What is written is stable.
            tell(request.cookie, Ok(()));
            return Ok(());
        }
        let send = |pieces: &[Segment]| {
            self.send(pieces.len(), |lane| {
                // SAFETY: promised by the caller.
                unsafe { self.send_told(lane, operation, pieces, request.cookie) }
            })
        };
        match *request.pages {
            // One page is most of what is waited for, and needs no table of pieces.
            [pfn] if request.bytes <= PAGE_SIZE => {
                send(&[Segment { addr: pfn.addr(), bytes: request.bytes as u32 }])
            }
            _ => {
                let mut pieces = Pieces::new();
                pieces.add(request.pages, request.bytes).ok_or(IoError::Invalid)?;
                send(pieces.as_slice())
            }
        }
    }

    fn poll(&self, done: &mut dyn FnMut(u64, Result<(), IoError>)) {
        for lane in 0..self.queues() {
            self.poll_telling(lane, &mut |cookie, outcome| done(cookie, outcome.map_err(to_io_error)));
        }
    }

    fn watch(&self, done: &mut dyn FnMut() -> bool) {
        // In ring 0 the CPU sleeps and wakes by itself; in ring 3 that is the monitor's work, several times.
        if cpu::ring() == 3 && task::is_alone() {
            Submitter::new(self).spin(|| done() || !task::is_alone());
        }
    }
}
