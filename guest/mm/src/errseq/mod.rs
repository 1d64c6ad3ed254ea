//! Errors of writes that nobody waited for, told once to everybody who has the file open (Linux `lib/errseq.c`).
//!
//! Owns: the error that came last, and whether somebody has seen it. Invariants: whoever has taken a sample before an error
//! was recorded learns of it once, however many ask at the same time; two errors that nobody saw in between may be one. The counter goes up only if somebody
//! has seen what was there, so that it lasts.

use crate::errno::Errno;
use crate::sync::atomic::{AtomicU32, Ordering};

#[cfg(all(loom, test))]
mod tests;

/// Which error: its place in [`ERRORS`] and one; 0 for none.
const ERROR: u32 = 0b1111;
/// Somebody has seen it.
const SEEN: u32 = 1 << 4;
/// One error more.
const ONE: u32 = 1 << 5;

const ERRORS: [Errno; 5] = [Errno::Eio, Errno::Enospc, Errno::Erofs, Errno::Enomem, Errno::Efbig];

/// See the module documentation.
pub struct ErrSeq(AtomicU32);

/// What somebody knew when he looked last.
pub struct ErrSample(AtomicU32);

impl ErrSeq {
    /// No error.
    #[must_use]
    #[cfg(not(all(loom, test)))]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// No error.
    #[must_use]
    #[cfg(all(loom, test))]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// A write has failed.
    pub fn set(&self, error: Errno) {
        let code = ERRORS.iter().position(|&known| known == error).unwrap_or(0) as u32 + 1;
        // Relaxed: nothing else is told by it.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            let kept = old & !(ERROR | SEEN) | code;
            Some(if old & SEEN != 0 { kept.wrapping_add(ONE) } else { kept })
        });
    }

    /// What one knows who opens the file now: an error that nobody has seen is still to be told.
    pub fn sample(&self) -> ErrSample {
        let now = self.0.load(Ordering::Relaxed);
        ErrSample(AtomicU32::new(if now & SEEN == 0 { 0 } else { now }))
    }

    /// The error that came since `sample` was taken; the sample is brought up to now.
    ///
    /// # Errors
    /// The error.
    pub fn check_and_advance(&self, sample: &ErrSample) -> Result<(), Errno> {
        // Acquire: who sees that somebody was told sees the error as he left it.
        let known = sample.0.load(Ordering::Acquire);
        let now = self.0.load(Ordering::Relaxed);
        if now == known {
            return Ok(());
        }
        // If another error comes at this moment it is told the next time.
        let seen = now | SEEN;
        let _ = self.0.compare_exchange(now, seen, Ordering::Relaxed, Ordering::Relaxed);
        // Of those who share the sample one takes the error. Release: see above.
        if sample.0.compare_exchange(known, seen, Ordering::Release, Ordering::Relaxed).is_err() {
            return Ok(());
        }
        ((now & ERROR) as usize)
            .checked_sub(1)
            .and_then(|at| ERRORS.get(at))
            .map_or(Ok(()), |error| Err(*error))
    }
}

impl Default for ErrSeq {
    fn default() -> Self {
        Self::new()
    }
}
