//! A counter that tells readers of several words that a writer came between (Linux `seqcount_t`).
//!
//! Owns: the counter. Stays outside: the lock that keeps writers apart, and the words. Invariants: odd while a writer
//! is at work. The words are atomics, read with Acquire and written with Release: whoever reads a word of a writer
//! sees that writer's odd number as well, so neither side needs a fence.

use super::atomic::{AtomicU64, Ordering, spin_loop};

/// See the module documentation.
pub(crate) struct SeqCount(AtomicU64);

/// A writer is at work until this is dropped.
pub(crate) struct Writing<'a>(&'a SeqCount);

impl SeqCount {
    #[cfg(not(all(loom, test)))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[cfg(all(loom, test))]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Runs `read` until no writer was at work meanwhile. A writer holds a lock and is never interrupted, so it is
    /// soon done.
    #[inline]
    pub(crate) fn read<R>(&self, mut read: impl FnMut() -> R) -> R {
        loop {
            let before = self.0.load(Ordering::Acquire);
            let result = read();
            if before.is_multiple_of(2) && self.0.load(Ordering::Relaxed) == before {
                return result;
            }
            spin_loop();
        }
    }

    /// Starts to write. The caller holds the lock that keeps other writers away.
    pub(crate) fn write(&self) -> Writing<'_> {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Writing(self)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let count = &self.0.0;
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}
