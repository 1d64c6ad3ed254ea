//! Requests on their way: what a disk was asked for, and what its end means (Linux `struct bio`).

use crate::addr::Pfn;
use crate::port::{IoError, IoOp, Ledger, Purpose};
use core::ptr::NonNull;

/// Pages of a request at most.
pub const MAX_PAGES: usize = 32;

/// Whoever is told how a request ended. May run with interrupts masked: it neither allocates nor waits.
pub(crate) trait EndIo: Sync {
    /// These pages are the disk's no more.
    fn end_io(&self, pages: &[Pfn], result: Result<(), IoError>);
}

/// What the end of a request means.
#[derive(Clone, Copy)]
pub(crate) enum End<'p> {
    /// Its folios are up to date unless it failed, and unlocked.
    Read,
    /// Somebody is told.
    Tell(&'p dyn EndIo),
    /// One of a batch is done, which somebody waits for.
    Batch(NonNull<super::batch::Count>),
}

/// What is asked for, and why.
#[derive(Clone, Copy)]
pub(crate) struct Job<'p> {
    pub op: IoOp,
    pub purpose: Purpose,
    pub end: End<'p>,
}

impl Job<'_> {
    /// Books the end of a request of this job.
    pub(super) fn book(&self, ledger: &Ledger, pages: u64, bytes: u64, is_ok: bool) {
        ledger.book(self.purpose, self.op, pages, bytes, is_ok);
    }
}

/// See the module documentation.
pub(crate) struct Bio<'p> {
    pub(super) job: Job<'p>,
    /// Of the disk that it is for.
    ledger: Option<&'p Ledger>,
    pub(super) sector: u64,
    /// How many pages there are.
    len: usize,
    pages: [Pfn; MAX_PAGES],
    pub(super) bytes: u64,
}

// SAFETY: a request has one holder; what it points to is shared by atomics.
unsafe impl Send for Bio<'_> {}

impl<'p> Bio<'p> {
    /// Room for one.
    pub(super) const fn new() -> Self {
        let job = Job { op: IoOp::Read, purpose: Purpose::Other, end: End::Read };
        Self { job, ledger: None, sector: 0, len: 0, pages: [Pfn::from_u32(0); MAX_PAGES], bytes: 0 }
    }

    /// Another request in the same place: what it had is nobody's any more.
    pub(super) fn reset(&mut self, job: Job<'p>, ledger: &'p Ledger, sector: u64) {
        (self.job, self.ledger, self.sector, self.len, self.bytes) = (job, Some(ledger), sector, 0, 0);
    }

    /// It has ended: that goes into the ledger of its disk.
    pub(super) fn book(&self, is_ok: bool) {
        if let Some(ledger) = self.ledger {
            self.job.book(ledger, self.len as u64, self.bytes, is_ok);
        }
    }

    /// Its memory.
    pub(crate) fn pages(&self) -> &[Pfn] {
        self.pages.get(..self.len).unwrap_or(&[])
    }

    /// Adds `bytes` of a page; false if there is no room.
    #[must_use = "a page that was not added is not read or written"]
    pub(super) fn push(&mut self, pfn: Pfn, bytes: u64) -> bool {
        let Some(slot) = self.pages.get_mut(self.len) else { return false };
        *slot = pfn;
        self.len += 1;
        self.bytes += bytes;
        true
    }
}
