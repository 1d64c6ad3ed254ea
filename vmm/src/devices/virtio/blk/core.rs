//! A disk without its queues: requests go in, finished ones come out.
//!
//! Owns: the image, the engine, what is in flight, and the faults. Stays outside: rings and the driver (`device`).
//! Invariants: no byte outside the capacity is read or written; a read-only disk is never
//! written; the counters move before the guest learns of a completion.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::DeviceFault;
use super::SECTOR_SIZE;
use super::buffers::Durability;
use super::counters::{BlkCounters, RequestKind};
use super::engine::{self, Done, Engine, EngineKind, Job, Op};
use super::faults::{Injector, Kind, Verdict};
use super::flight::{Flight, Flights, LOOK, MAX_OPERATIONS, Step, Work};
use super::geometry::MAX_EXTENT_SECTORS;
use super::image::{Access, DiskImage};
use super::request::{Completion, Extent, Operation, Parser, Request, Status};
use super::stream::Stream;
use crate::sandbox::ThreadFilter;

/// How soon to try again when the host was short of memory.
const RETRY: Duration = Duration::from_millis(1);

/// See the module documentation.
pub struct Core {
    pub image: DiskImage,
    pub id: [u8; super::geometry::ID_BYTES],
    pub counters: Arc<BlkCounters>,
    pub durability: Durability,
    pub kind: EngineKind,
    /// What the engine's threads enter.
    pub helpers: Option<ThreadFilter>,
    pub engine: Option<Box<dyn Engine>>,
    pub injector: Injector,
    pub parser: Parser,
    pub flights: Flights,
    /// The reads of each queue.
    pub streams: Vec<Stream>,
    /// A flush has failed. The host says so once and takes for clean what it could not write, so a later flush would vouch
    /// for what is gone: all of them fail from then on.
    pub unstable: bool,
    /// Operations with the engine.
    pub under_way: usize,
    /// The engine has not taken everything yet.
    pub retry: bool,
    /// Flights that are over but may not be answered yet, soonest first.
    pub delayed: BinaryHeap<Reverse<(Instant, u16, bool)>>,
    /// Flights to be answered, and whether they went well.
    pub finished: VecDeque<(u16, bool)>,
    /// Scratch of [`Core::reap`].
    pub done: Vec<Done>,
}

/// What a request needs.
enum Plan {
    /// An answer: the status, and bytes written into the driver's buffers.
    Answer(Status, u32),
    /// Work on this range.
    Run { kind: RequestKind, sector: u64, bytes: u64, work: Work },
}

impl Core {
    /// Byte offset of `sector`, if `bytes` from there on are whole sectors inside the disk.
    fn locate(&self, sector: u64, bytes: u64) -> Option<u64> {
        let offset = sector.checked_mul(SECTOR_SIZE)?;
        let end = offset.checked_add(bytes)?;
        (end <= self.image.size() && bytes.is_multiple_of(SECTOR_SIZE)).then_some(offset)
    }

    fn is_writable(&self) -> bool {
        self.image.access() == Access::ReadWrite
    }

    fn plan(&self, request: &Request) -> Plan {
        let bytes = request.data.bytes();
        let refused = Plan::Answer(Status::IoError, 0);
        match request.operation {
            Operation::Read { sector } => match self.locate(sector, bytes) {
                Some(at) => Plan::Run { kind: RequestKind::Read, sector, bytes, work: Work::Read(at) },
                None => refused,
            },
            Operation::Write { sector } => match self.locate(sector, bytes).filter(|_| self.is_writable()) {
                Some(at) => Plan::Run { kind: RequestKind::Write, sector, bytes, work: Work::Write(at) },
                None => refused,
            },
            Operation::Flush if self.unstable => refused,
            Operation::Flush => Plan::Run { kind: RequestKind::Flush, sector: 0, bytes: 0, work: Work::Sync },
            Operation::Discard(extent) => self.plan_range(RequestKind::Discard, extent, true),
            Operation::WriteZeroes { extent, unmap } => {
                self.plan_range(RequestKind::WriteZeroes, extent, unmap)
            }
            Operation::GetId => Plan::Answer(Status::Ok, request.data.store(&self.id)),
            Operation::Unknown => Plan::Answer(Status::Unsupported, 0),
        }
    }

    fn plan_range(&self, kind: RequestKind, extent: Extent, punch: bool) -> Plan {
        if !self.image.punches() {
            // Read-only, or a file system that cannot: the feature was not offered.
            return Plan::Answer(Status::Unsupported, 0);
        }
        let len = u64::from(extent.sectors) * SECTOR_SIZE;
        match self.locate(extent.sector, len).filter(|_| extent.sectors <= MAX_EXTENT_SECTORS) {
            None => Plan::Answer(Status::IoError, 0),
            Some(offset) => {
                let work = match len {
                    0 => Work::Nothing,
                    _ if punch => Work::Punch { offset, len },
                    _ => Work::Zero { offset, len },
                };
                Plan::Run { kind, sector: extent.sector, bytes: len, work }
            }
        }
    }

    /// Begins a request from queue `queue` that came at `arrived`. Returns its answer if there is nothing to wait for.
    pub fn begin(
        &mut self,
        queue: usize,
        mut request: Request,
        arrived: Instant,
    ) -> Result<Option<Completion>, DeviceFault> {
        let (kind, sector, bytes, mut work) = match self.plan(&request) {
            Plan::Answer(status, filled) => {
                if status != Status::Ok {
                    self.counters.error();
                }
                return Ok(Some(request.complete(status, filled)));
            }
            Plan::Run { kind, sector, bytes, work } => (kind, sector, bytes, work),
        };
        let fault_kind = match kind {
            RequestKind::Read => Kind::Read,
            RequestKind::Flush => Kind::Flush,
            RequestKind::Write | RequestKind::Discard | RequestKind::WriteZeroes => Kind::Write,
        };
        let verdict = self.injector.judge(fault_kind, sector, bytes);
        match (verdict, &mut work) {
            (Verdict::Pass, _) => {}
            (Verdict::Fail, work) => *work = Work::Nothing,
            (Verdict::Torn(part), Work::Punch { len, .. } | Work::Zero { len, .. }) if part > 0 => {
                *len = part
            }
            (Verdict::Torn(part), Work::Write(_)) => request.data.truncate(part),
            (Verdict::Torn(_), work) => *work = Work::Nothing,
        }
        let flight = Flight {
            request,
            queue,
            kind,
            sector,
            bytes,
            arrived,
            release: self.injector.release(arrived, bytes),
            work,
            spoiled: verdict != Verdict::Pass,
            moved: 0,
            durability: self.durability,
        };
        let read = (kind == RequestKind::Read).then_some(sector * SECTOR_SIZE);
        match self.flights.insert(flight) {
            Ok(slot) => {
                let stream = self.streams.get_mut(queue);
                let look = read.zip(stream).and_then(|(offset, stream)| stream.begin(offset, bytes));
                self.proceed(slot)?;
                if let Some(offset) = look {
                    // Less than `MAX_QUEUES` more.
                    let slot = LOOK + queue as u16;
                    self.start(Job { slot, fd: self.image.descriptor(), op: Op::Look(offset) })?;
                }
                Ok(None)
            }
            // The device takes no chain when there is no room.
            Err(flight) => Ok(Some(flight.request.complete(Status::IoError, 0))),
        }
    }

    /// Starts the next operation of `slot`, or ends it when there is none.
    fn proceed(&mut self, slot: u16) -> Result<(), DeviceFault> {
        let Some(flight) = self.flights.get_mut(slot) else { return Ok(()) };
        match flight.next(&self.image) {
            Some((fd, op)) => self.start(Job { slot, fd, op })?,
            None => self.finish(slot, true),
        }
        Ok(())
    }

    /// Gives the engine an operation of a flight in the table, or a look.
    fn start(&mut self, job: Job) -> Result<(), DeviceFault> {
        let engine = open_engine(&mut self.engine, self.kind, &self.helpers)?;
        // SAFETY: the image outlives its engine's operations, because every way to drop it waits for them first
        // (`quiesce`). The vectors belong to the flight, which keeps guest RAM mapped, holds them on the heap wherever it
        // is moved, and leaves the table only when no operation of it is under way. A look has none. The table bounds how
        // many there are, and a queue has one look: while it is under way the queue is held.
        unsafe { engine.push(job) };
        self.under_way += 1;
        Ok(())
    }

    fn finish(&mut self, slot: u16, ok: bool) {
        let Some(flight) = self.flights.get_mut(slot) else { return };
        if flight.kind == RequestKind::Read
            && let Some(stream) = self.streams.get_mut(flight.queue)
        {
            stream.end(flight.sector * SECTOR_SIZE);
        }
        match flight.release {
            Some(release) => self.delayed.push(Reverse((release, slot, ok))),
            None => self.finished.push_back((slot, ok)),
        }
    }

    /// Whether another request of queue `queue` had better wait.
    pub fn is_full(&self, queue: usize) -> bool {
        self.flights.is_full() || self.streams.get(queue).is_some_and(Stream::is_held)
    }

    /// Whether the host has something of ours, or has done something that nobody was told of.
    pub fn is_busy(&self) -> bool {
        self.under_way > 0 || !self.flights.is_empty()
    }

    /// Hands what was begun to the host.
    pub fn submit(&mut self) {
        self.retry = self.engine.as_mut().is_some_and(|engine| !engine.submit());
    }

    /// Takes in what the host has done. Returns whether there was anything.
    pub fn reap(&mut self) -> Result<bool, DeviceFault> {
        let Some(engine) = &mut self.engine else { return Ok(false) };
        let mut done = std::mem::take(&mut self.done);
        engine.reap(&mut done);
        let any = !done.is_empty();
        self.under_way -= done.len().min(self.under_way);
        let mut outcome = Ok(());
        for Done { slot, result } in done.drain(..) {
            if let Some(queue) = slot.checked_sub(LOOK) {
                // What became of it, a read of that place will tell.
                self.streams.get_mut(usize::from(queue)).map(Stream::looked);
                continue;
            }
            let Some(flight) = self.flights.get_mut(slot) else { continue };
            match flight.took(result) {
                Step::Again => outcome = outcome.and(self.proceed(slot)),
                Step::Over(ok) => {
                    self.unstable |= !ok && flight.work == Work::Sync;
                    self.finish(slot, ok);
                }
            }
        }
        self.done = done;
        outcome.map(|()| any)
    }

    /// Moves on what may be answered at `now`.
    pub fn release(&mut self, now: Instant) {
        while let Some(&Reverse((release, slot, ok))) = self.delayed.peek().filter(|next| next.0.0 <= now) {
            debug_assert!(release <= now);
            self.delayed.pop();
            self.finished.push_back((slot, ok));
        }
    }

    /// Counts what is over at `now`, and adds its answers to `answers`, each with the index of its queue.
    pub fn answers(&mut self, now: Instant, answers: &mut Vec<(usize, Completion)>) {
        if self.finished.is_empty() {
            return;
        }
        let mut record = self.counters.record(now);
        for (slot, ok) in self.finished.drain(..) {
            let Some(flight) = self.flights.remove(slot) else { continue };
            let ok = ok && !flight.spoiled;
            record.request(&flight, ok);
            let filled = match flight.work {
                // Data of one chain is below 4 GiB.
                Work::Read(_) => u32::try_from(flight.moved).unwrap_or(u32::MAX),
                _ => 0,
            };
            let status = if ok { Status::Ok } else { Status::IoError };
            answers.push((flight.queue, flight.request.complete(status, filled)));
            self.parser.recycle(flight.request);
        }
    }

    /// When something happens that no event tells of.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let release = self.delayed.peek().map(|next| next.0.0);
        let retry = self.retry.then(|| now + RETRY);
        release.into_iter().chain(retry).min()
    }

    /// Opens the engine, its threads in `helpers`. Returns what is readable while there is something to reap; `None`
    /// when there is no engine to be had, which the first request will say.
    pub fn prepare(&mut self, helpers: ThreadFilter) -> Option<RawFd> {
        self.helpers = Some(helpers);
        open_engine(&mut self.engine, self.kind, &self.helpers).ok().map(|engine| engine.event())
    }

    /// Waits until the host has nothing of ours any more. Then no buffer is in use.
    pub fn quiesce(&mut self) {
        while self.under_way > 0 {
            self.submit();
            if let Some(engine) = &mut self.engine {
                engine.wait();
            }
            // Without an engine nothing is under way; what cannot go on is dropped by the caller.
            let _ = self.reap();
        }
    }

    /// Forgets every request. Nobody is told.
    pub fn forget(&mut self) {
        self.quiesce();
        self.flights = Flights::default();
        self.streams.fill_with(|| Stream::new(&self.image));
        self.delayed.clear();
        self.finished.clear();
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.quiesce();
    }
}

fn open_engine<'e>(
    engine: &'e mut Option<Box<dyn Engine>>,
    kind: EngineKind,
    helpers: &Option<ThreadFilter>,
) -> Result<&'e mut Box<dyn Engine>, DeviceFault> {
    match engine {
        Some(engine) => Ok(engine),
        None => {
            let opened = engine::open(kind, MAX_OPERATIONS, helpers.clone()).map_err(DeviceFault::Engine)?;
            Ok(engine.insert(opened))
        }
    }
}
