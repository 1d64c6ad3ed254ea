//! Requests that somebody waits for: direct I/O, flushes.
//!
//! Owns: how many are on their way, and the first error. Invariants: the count lives as long as a request knows it, for its
//! maker waits for all of them.

use crate::port::{Cpu, IoError};
use core::sync::atomic::{AtomicU32, Ordering};

/// How many requests are on their way.
pub(crate) struct Count {
    pending: AtomicU32,
    /// 0: none has failed; else one more than the place of the error in [`ERRORS`].
    error: AtomicU32,
}

const ERRORS: [IoError; 6] =
    [IoError::Io, IoError::NoSpace, IoError::ReadOnly, IoError::Invalid, IoError::Unsupported, IoError::Busy];

impl Count {
    pub(super) const fn new() -> Self {
        Self { pending: AtomicU32::new(0), error: AtomicU32::new(0) }
    }

    /// What its waiter sleeps on.
    pub(super) fn key(&self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }

    /// One more is on its way.
    pub(super) fn add(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// One of them is done. With the last the count may be gone at once.
    pub(super) fn end(&self, cpu: &impl Cpu, result: Result<(), IoError>) {
        let key = self.key();
        if let Err(error) = result {
            let code = ERRORS.iter().position(|&known| known == error).unwrap_or(0) as u32 + 1;
            let _ = self.error.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
        }
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            cpu.wake(key);
        }
    }

    /// Whether none is on its way.
    pub(super) fn is_done(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0
    }

    /// The first error.
    pub(super) fn result(&self) -> Result<(), IoError> {
        let code = self.error.load(Ordering::Relaxed) as usize;
        code.checked_sub(1).and_then(|at| ERRORS.get(at).copied()).map_or(Ok(()), Err)
    }
}
