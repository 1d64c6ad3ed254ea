//! Requests on their way: what a disk was asked for, and what its end means (Linux `struct bio`).

use crate::addr::Pfn;
use crate::port::{IoError, IoOp};
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

/// See the module documentation.
pub(crate) struct Bio<'p> {
    pub(super) end: End<'p>,
    pub(super) op: IoOp,
    pub(super) sector: u64,
    /// How many pages there are.
    len: usize,
    pages: [Pfn; MAX_PAGES],
    pub(super) bytes: u64,
}

// SAFETY: a request has one holder; what it points to is shared by atomics.
unsafe impl Send for Bio<'_> {}

impl<'p> Bio<'p> {
    pub(super) const fn new(end: End<'p>, op: IoOp, sector: u64) -> Self {
        Self { end, op, sector, len: 0, pages: [Pfn::from_u32(0); MAX_PAGES], bytes: 0 }
    }

    /// Another request in the same place: what it had is nobody's any more.
    pub(super) fn reset(&mut self, end: End<'p>, op: IoOp, sector: u64) {
        (self.end, self.op, self.sector, self.len, self.bytes) = (end, op, sector, 0, 0);
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
