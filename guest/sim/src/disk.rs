//! A simulated disk: it holds on to requests, ends them in an order of its own, and fails on demand.
//!
//! Owns: what is on the disk, requests on their way, and a log of all that were taken. Invariants: memory is read or written
//! when a request ends, not before; the order comes from a seed, so a run can be repeated; who asks often enough sees every
//! request end, unless the disk is told to hold on to them.

use crate::Machine;
use mm::addr::{PAGE_SIZE, Pfn};
use mm::port::{BlockDevice, Cpu as _, IoError, IoOp, IoRequest, Ledger, Machine as _, SECTOR_BYTES};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A request as the log has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Logged {
    /// What was asked for.
    pub op: IoOp,
    /// The first sector.
    pub sector: u64,
    /// How many pages of memory.
    pub pages: usize,
    /// How many bytes of them.
    pub bytes: u64,
}

/// Requests that fail.
#[derive(Clone, Debug)]
pub struct DiskFault {
    /// Those that ask for this.
    pub op: IoOp,
    /// And touch these sectors; for requests without memory any.
    pub sectors: Range<u64>,
    /// What they end with.
    pub error: IoError,
    /// How many of them.
    pub times: u32,
    /// So many sectors are done before it fails: a torn write.
    pub torn: u64,
}

impl DiskFault {
    /// The next `times` requests for `op` of these sectors fail, and nothing of them is done.
    #[must_use]
    pub fn new(op: IoOp, sectors: Range<u64>, times: u32) -> Self {
        Self { op, sectors, error: IoError::Io, times, torn: 0 }
    }

    fn hits(&self, request: &Pending) -> bool {
        let sectors = request.sector..request.sector + request.bytes / SECTOR_BYTES;
        let touches = sectors.start < self.sectors.end && self.sectors.start < sectors.end;
        self.times != 0 && self.op == request.op && (touches || sectors.is_empty())
    }
}

/// A request on its way.
struct Pending {
    op: IoOp,
    sector: u64,
    pages: Vec<Pfn>,
    bytes: u64,
    cookie: u64,
    /// It does not end before.
    due: u64,
}

struct State {
    data: Vec<u8>,
    pending: VecDeque<Pending>,
    log: Vec<Logged>,
    faults: Vec<DiskFault>,
    chance: u64,
    delay: u64,
    /// Bytes a second; 0 for as many as there are.
    rate: u64,
    /// Requests that failed on demand.
    failures: u64,
    /// Bytes of reads, writes and discards that succeeded.
    moved: [u64; 3],
    /// When all that was taken before is done, at that rate.
    busy_until: u64,
}

impl State {
    /// Below `n`, by chance (xorshift).
    fn below(&mut self, n: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance % n as u64) as usize
    }
}

/// See the module documentation.
pub struct Disk<'m> {
    machine: &'m Machine,
    state: Mutex<State>,
    sectors: u64,
    max_pages: AtomicUsize,
    read_only: AtomicBool,
    full: AtomicBool,
    held: AtomicBool,
    max_discard: AtomicU64,
    rotational: AtomicBool,
    ledger: Ledger,
}

impl<'m> Disk<'m> {
    /// A disk of zeroes.
    #[must_use]
    pub fn new(machine: &'m Machine, sectors: u64, seed: u64) -> Self {
        let state = State {
            data: vec![0; (sectors * SECTOR_BYTES) as usize],
            pending: VecDeque::new(),
            log: Vec::new(),
            faults: Vec::new(),
            chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            delay: 0,
            rate: 0,
            failures: 0,
            moved: [0; 3],
            busy_until: 0,
        };
        Self {
            machine,
            state: Mutex::new(state),
            sectors,
            max_pages: AtomicUsize::new(64),
            read_only: AtomicBool::new(false),
            full: AtomicBool::new(false),
            held: AtomicBool::new(false),
            max_discard: AtomicU64::new(0),
            rotational: AtomicBool::new(true),
            ledger: Ledger::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request has at most so many pages.
    pub fn set_max_pages(&self, pages: usize) {
        self.max_pages.store(pages, Ordering::Relaxed);
    }

    /// One request gives back at most so many sectors; 0 for none at all, as at first.
    pub fn set_max_discard(&self, sectors: u64) {
        self.max_discard.store(sectors, Ordering::Relaxed);
    }

    /// Whether it says that it turns, as at first.
    pub fn set_rotational(&self, is: bool) {
        self.rotational.store(is, Ordering::Relaxed);
    }

    /// Whether every write fails because nothing can be written.
    pub fn set_read_only(&self, is: bool) {
        self.read_only.store(is, Ordering::Relaxed);
    }

    /// Whether every write fails because there is no room.
    pub fn set_full(&self, is: bool) {
        self.full.store(is, Ordering::Relaxed);
    }

    /// Whether requests stay on their way, whoever asks.
    pub fn hold(&self, is: bool) {
        self.held.store(is, Ordering::Relaxed);
    }

    /// Every request takes so long.
    pub fn set_delay(&self, ns: u64) {
        self.state().delay = ns;
    }

    /// The disk moves so many bytes a second, one request after the other.
    pub fn set_rate(&self, bytes: u64) {
        self.state().rate = bytes;
    }

    /// Requests that are to fail, beside those that were before.
    pub fn fail(&self, fault: DiskFault) {
        self.state().faults.push(fault);
    }

    /// No request fails from now on.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// What is on the disk, from byte `at`.
    #[must_use]
    pub fn peek(&self, at: u64, bytes: usize) -> Vec<u8> {
        self.state().data[at as usize..at as usize + bytes].to_vec()
    }

    /// Changes what is on the disk, as somebody outside does.
    pub fn poke(&self, at: u64, bytes: &[u8]) {
        self.state().data[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// The requests that were taken since this was asked last.
    #[must_use]
    pub fn take_log(&self) -> Vec<Logged> {
        std::mem::take(&mut self.state().log)
    }

    /// How many requests failed on demand.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.state().failures
    }

    /// Bytes that were read, written and given back by requests that succeeded.
    #[must_use]
    pub fn moved(&self) -> [u64; 3] {
        self.state().moved
    }

    /// Requests on their way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.state().pending.len()
    }

    /// Ends the `nth` of the requests on their way, oldest first: its cookie and how it ended. The caller tells whoever
    /// the disk was made for.
    pub fn finish(&self, nth: usize) -> Option<(u64, Result<(), IoError>)> {
        let mut state = self.state();
        let request = state.pending.remove(nth)?;
        let result = self.perform(&mut state, &request);
        Some((request.cookie, result))
    }

    /// The power goes: what is on its way is never heard of again, and each sector of a write may or may not have been
    /// done.
    pub fn cut_power(&self) {
        let mut state = self.state();
        while let Some(request) = state.pending.pop_front() {
            if request.op == IoOp::Write {
                let done = state.below(1 + (request.bytes / SECTOR_BYTES) as usize) as u64;
                self.transfer(&mut state, &request, done * SECTOR_BYTES);
            }
        }
    }

    fn perform(&self, state: &mut State, request: &Pending) -> Result<(), IoError> {
        if request.op == IoOp::Write && self.full.load(Ordering::Relaxed) {
            return Err(IoError::NoSpace);
        }
        if let Some(fault) = state.faults.iter_mut().find(|fault| fault.hits(request)) {
            fault.times = fault.times.saturating_sub(u32::from(fault.times != u32::MAX));
            let (error, torn) = (fault.error, fault.torn * SECTOR_BYTES);
            state.failures += 1;
            self.transfer(state, request, torn.min(request.bytes));
            return Err(error);
        }
        self.transfer(state, request, request.bytes);
        match request.op {
            IoOp::Read => state.moved[0] += request.bytes,
            IoOp::Write => state.moved[1] += request.bytes,
            IoOp::Discard => state.moved[2] += request.bytes,
            IoOp::Flush => {}
        }
        Ok(())
    }

    /// Moves the first `bytes` bytes of a request.
    fn transfer(&self, state: &mut State, request: &Pending, bytes: u64) {
        let start = (request.sector * SECTOR_BYTES) as usize;
        if request.op == IoOp::Discard {
            state.data[start..start + bytes as usize].fill(0);
        }
        for (n, &pfn) in request.pages.iter().enumerate() {
            let at = n as u64 * PAGE_SIZE;
            let len = bytes.saturating_sub(at).min(PAGE_SIZE) as usize;
            let disk = &mut state.data[start + at as usize..][..len];
            let memory = self.machine.ram_at(pfn.addr()).expect("a request names memory that is not there");
            match request.op {
                // SAFETY: the page belongs to the disk until the request has ended, and it has that many bytes.
                IoOp::Read => unsafe { memory.as_ptr().copy_from_nonoverlapping(disk.as_ptr(), len) },
                // SAFETY: as above; a write reads it.
                IoOp::Write => unsafe { memory.as_ptr().copy_to_nonoverlapping(disk.as_mut_ptr(), len) },
                IoOp::Flush | IoOp::Discard => {}
            }
        }
    }
}

impl BlockDevice for Disk<'_> {
    fn name(&self) -> &str {
        "sim"
    }

    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    fn max_pages(&self) -> usize {
        self.max_pages.load(Ordering::Relaxed)
    }

    fn max_discard(&self) -> u64 {
        self.max_discard.load(Ordering::Relaxed)
    }

    fn is_rotational(&self) -> bool {
        self.rotational.load(Ordering::Relaxed)
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    unsafe fn submit(&self, request: &IoRequest<'_>) -> Result<(), IoError> {
        let IoRequest { op, sector, pages, bytes, cookie } = *request;
        let is_whole = bytes.is_multiple_of(SECTOR_BYTES) && sector + bytes / SECTOR_BYTES <= self.sectors;
        let is_covered = pages.is_empty()
            || (pages.len() as u64 - 1) * PAGE_SIZE < bytes && bytes <= pages.len() as u64 * PAGE_SIZE;
        if !is_whole || !is_covered || pages.len() > self.max_pages() {
            return Err(IoError::Invalid);
        }
        if self.is_read_only() && matches!(op, IoOp::Write | IoOp::Discard) {
            return Err(IoError::ReadOnly);
        }
        if op == IoOp::Discard && bytes / SECTOR_BYTES > self.max_discard() {
            return Err(IoError::Invalid);
        }
        let now = self.machine.cpu().now();
        let mut state = self.state();
        if let Some(ns) = (bytes * 1_000_000_000).checked_div(state.rate) {
            state.busy_until = state.busy_until.max(now) + ns;
        }
        let due = state.busy_until.max(now) + state.delay;
        state.log.push(Logged { op, sector, pages: pages.len(), bytes });
        state.pending.push_back(Pending { op, sector, pages: pages.to_vec(), bytes, cookie, due });
        Ok(())
    }

    /// Ends one or more of the requests that are due, in any order.
    fn poll(&self, done: &mut dyn FnMut(u64, Result<(), IoError>)) {
        let now = self.machine.cpu().now();
        let mut ended = Vec::new();
        let mut state = self.state();
        while !self.held.load(Ordering::Relaxed) {
            let due: Vec<usize> =
                (0..state.pending.len()).filter(|&at| state.pending[at].due <= now).collect();
            if due.is_empty() {
                break;
            }
            let nth = due[state.below(due.len())];
            let request = state.pending.remove(nth).expect("it was there");
            let result = self.perform(&mut state, &request);
            ended.push((request.cookie, result));
            if state.below(3) == 0 {
                break;
            }
        }
        drop(state);
        for (cookie, result) in ended {
            done(cookie, result);
        }
    }
}
