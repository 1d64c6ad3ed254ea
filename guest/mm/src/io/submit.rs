//! Sending requests, ending them, waiting for them.

use super::batch::Count;
use super::bio::Bio;
use super::pool::Owned;
use super::{End, Io, Job, MAX_PAGES};
use crate::addr::Pfn;
use crate::folio::{Folio, FolioFlags};
use crate::phys::FrameAllocator;
use crate::port::{BlockDevice, Cpu, IoError, IoOp, IoRequest, Machine, PAGE_SECTORS, Purpose, SECTOR_BYTES};
use crate::vmstat::VmEvent;
use core::ptr::NonNull;

/// Pages in a row on a disk that are being gathered to requests: a page that goes on where the last ended joins its
/// request, any other starts a new one (Linux's plug, and the loop of `mpage_readahead`). Sent when this is dropped.
pub(crate) struct Gather<'a, 'p, M: Machine, A: FrameAllocator<'p>> {
    io: &'a Io<'p, M>,
    device: &'p dyn BlockDevice,
    frames: &'a A,
    job: Job<'p>,
    bio: Option<Owned<'p>>,
}

impl<'p, M: Machine, A: FrameAllocator<'p>> Gather<'_, 'p, M, A> {
    /// Adds the page `pfn`, of which `bytes` bytes (whole sectors) lie at `sector`. If there is no request to be had it is
    /// ended with [`IoError::Busy`].
    ///
    /// # Safety
    /// As for [`BlockDevice::submit`], until the request has ended.
    pub(crate) unsafe fn push(&mut self, sector: u64, pfn: Pfn, bytes: u64) {
        let limit = self.device.max_pages().clamp(1, MAX_PAGES);
        let joins = self.bio.as_ref().is_some_and(|bio| {
            bio.sector + bio.bytes / SECTOR_BYTES == sector
                && bio.pages().len() < limit
                && bio.bytes == bio.pages().len() as u64 * PAGE_SECTORS * SECTOR_BYTES
        });
        if !joins {
            self.send();
            self.bio = self.io.take(self.device, self.frames, self.job, sector);
        }
        if let End::Batch(count) = self.job.end
            && !joins
        {
            // SAFETY: whoever waits for the count has it until all are done.
            unsafe { count.as_ref() }.add();
        }
        if !self.bio.as_mut().is_some_and(|bio| bio.push(pfn, bytes)) {
            self.job.book(self.device.ledger(), 1, bytes, false);
            self.io.finish(self.job.end, &[pfn], Err(IoError::Busy));
        }
    }

    /// Sends what was gathered.
    pub(crate) fn send(&mut self) {
        if let Some(bio) = self.bio.take() {
            // SAFETY: promised by whoever added the pages.
            unsafe { self.io.send(self.device, bio) };
        }
    }
}

impl<'p, M: Machine, A: FrameAllocator<'p>> Drop for Gather<'_, 'p, M, A> {
    fn drop(&mut self) {
        self.send();
    }
}

/// Requests that their maker waits for, when this is dropped at the latest.
pub(crate) struct Batch<'a, 'p, M: Machine, A: FrameAllocator<'p>> {
    io: &'a Io<'p, M>,
    device: &'p dyn BlockDevice,
    frames: &'a A,
    count: &'a Count,
}

impl<'p, M: Machine, A: FrameAllocator<'p>> Batch<'_, 'p, M, A> {
    /// Requests that belong to it.
    pub(crate) fn gather(&self, op: IoOp) -> Gather<'_, 'p, M, A> {
        self.io.gather(self.device, self.frames, self.job(op, Purpose::Direct))
    }

    fn job(&self, op: IoOp, purpose: Purpose) -> Job<'p> {
        Job { op, purpose, end: End::Batch(NonNull::from(self.count)) }
    }

    /// A request without memory.
    pub(crate) fn command(&self, op: IoOp, purpose: Purpose, sector: u64, bytes: u64) {
        self.count.add();
        let job = self.job(op, purpose);
        match self.io.take(self.device, self.frames, job, sector) {
            Some(mut bio) => {
                bio.bytes = bytes;
                // SAFETY: it has no memory.
                unsafe { self.io.send(self.device, bio) };
            }
            None => self.io.finish(job.end, &[], Err(IoError::Busy)),
        }
    }

    fn wait(&self) {
        let cpu = self.io.machine().cpu();
        while !self.count.is_done() {
            self.io.poll(self.device);
            cpu.wait_on(self.count.key(), &mut || self.count.is_done());
        }
    }
}

impl<'p, M: Machine, A: FrameAllocator<'p>> Drop for Batch<'_, 'p, M, A> {
    fn drop(&mut self) {
        self.wait();
    }
}

impl<'p, M: Machine> Io<'p, M> {
    /// Starts to gather requests of one kind.
    pub(crate) fn gather<'a, A: FrameAllocator<'p>>(
        &'a self,
        device: &'p dyn BlockDevice,
        frames: &'a A,
        job: Job<'p>,
    ) -> Gather<'a, 'p, M, A> {
        Gather { io: self, device, frames, job, bio: None }
    }

    /// Does what `work` asks for, and waits for all of it. The first error, if there was one. Only where this code can wait.
    pub(crate) fn batch<A: FrameAllocator<'p>>(
        &self,
        device: &'p dyn BlockDevice,
        frames: &A,
        work: impl FnOnce(&Batch<'_, 'p, M, A>),
    ) -> Result<(), IoError> {
        let count = Count::new();
        let batch = Batch { io: self, device, frames, count: &count };
        work(&batch);
        drop(batch);
        count.result()
    }

    /// Hands a request to its disk.
    ///
    /// # Safety
    /// As for [`BlockDevice::submit`].
    unsafe fn send(&self, device: &dyn BlockDevice, bio: Owned<'p>) {
        let cpu = self.machine().cpu();
        let event = match bio.job.op {
            IoOp::Read => Some(VmEvent::PgPgIn),
            IoOp::Write => Some(VmEvent::PgPgOut),
            IoOp::Flush | IoOp::Discard => None,
        };
        if let Some(event) = event {
            self.stat.count(cpu, event, bio.bytes / SECTOR_BYTES);
        }
        let (op, sector, bytes) = (bio.job.op, bio.sector, bio.bytes);
        // The list is copied: the request may end before `submit` returns.
        let mut list = [Pfn::from_u32(0); MAX_PAGES];
        let len = bio.pages().len();
        list.iter_mut().zip(bio.pages()).for_each(|(to, from)| *to = *from);
        let cookie = bio.into_cookie();
        let request = IoRequest { op, sector, pages: list.get(..len).unwrap_or(&[]), bytes, cookie };
        let taken = if self.fails_on_purpose(bytes) {
            Err(IoError::Io)
        } else {
            // SAFETY: promised by the caller.
            unsafe { device.submit(&request) }
        };
        if let Err(error) = taken {
            // SAFETY: the disk did not take it, so the name is nobody else's.
            unsafe { self.end_io(cookie, Err(error)) };
        }
    }

    /// Whether a request of so many bytes shall fail (Linux `should_fail_bio`); says so.
    fn fails_on_purpose(&self, bytes: u64) -> bool {
        let fails = self.faults.should_fail(u32::try_from(bytes).unwrap_or(u32::MAX));
        if fails {
            self.phys.report_injected("fail_make_request", self.faults.config());
        }
        fails
    }

    /// A request has ended (Linux `bio_endio`). May run in an interrupt.
    ///
    /// # Safety
    /// A disk was given a request with this cookie, and nobody was told before that it ended.
    pub unsafe fn end_io(&self, cookie: u64, result: Result<(), IoError>) {
        // SAFETY: promised by the caller.
        let Some(bio) = (unsafe { Owned::from_cookie(cookie) }) else { return };
        let request: &Bio<'p> = &bio;
        request.book(result.is_ok());
        self.finish(request.job.end, request.pages(), result);
        self.give_back(bio);
    }

    /// What the end of a request means.
    fn finish(&self, end: End<'p>, pages: &[Pfn], result: Result<(), IoError>) {
        match end {
            End::Read => pages.iter().for_each(|&pfn| self.end_read(pfn, result)),
            End::Tell(whom) => whom.end_io(pages, result),
            // SAFETY: whoever waits for the count has it until this was done.
            End::Batch(count) => unsafe { count.as_ref() }.end(self.machine().cpu(), result),
        }
    }

    /// A page was read, or could not be.
    fn end_read(&self, pfn: Pfn, result: Result<(), IoError>) {
        let Some(folio) = self.ground().and_then(|ground| Folio::of(ground.table, pfn)) else { return };
        if result.is_ok() {
            folio.set_flags(FolioFlags::UPTODATE);
        }
        folio.unlock(self.machine().cpu());
    }

    /// Takes in what `device` has done.
    pub fn poll(&self, device: &dyn BlockDevice) {
        // SAFETY: a disk shows the cookie of a request that it took, once.
        device.poll(&mut |cookie, result| unsafe { self.end_io(cookie, result) });
    }

    /// Locks a folio that the caller has a reference to, and waits for `device` where somebody else has it.
    pub(crate) fn lock_folio(&self, device: &dyn BlockDevice, folio: Folio<'_>) {
        folio.lock(self.machine().cpu(), || self.look(device, folio, FolioFlags::LOCKED));
    }

    /// Waits until a folio that the caller has a reference to has not got `flag`.
    pub(crate) fn wait_folio(&self, device: &dyn BlockDevice, folio: Folio<'_>, flag: FolioFlags) {
        folio.wait_while(self.machine().cpu(), flag, || self.look(device, folio, flag));
    }

    /// What comes before sleeping until a folio has not got `flag`.
    fn look(&self, device: &dyn BlockDevice, folio: Folio<'_>, flag: FolioFlags) {
        self.poll(device);
        device.watch(&mut || !folio.flags().contains(flag));
    }
}
