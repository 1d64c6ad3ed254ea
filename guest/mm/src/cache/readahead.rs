//! Which pages are read before somebody asks for them.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Pages of the largest window (`VM_READAHEAD_PAGES`).
pub(super) const DEFAULT_PAGES: u32 = 32;

/// What readahead remembers of an open file (Linux `struct file_ra_state`). As there, whoever reads and writes it takes no
/// lock: two who read one file at once may confuse each other's windows, never what they read.
pub(crate) struct RaState {
    start: AtomicU64,
    size: AtomicU32,
    async_size: AtomicU32,
    pub(super) ra_pages: AtomicU32,
    /// Faults that found no page, less those that did.
    mmap_miss: AtomicU32,
    /// Where the last read ended; all ones before the first.
    pub(super) prev_pos: AtomicU64,
}

impl RaState {
    pub(super) const fn new(ra_pages: u32) -> Self {
        Self {
            start: AtomicU64::new(0),
            size: AtomicU32::new(0),
            async_size: AtomicU32::new(0),
            ra_pages: AtomicU32::new(ra_pages),
            mmap_miss: AtomicU32::new(0),
            prev_pos: AtomicU64::new(u64::MAX),
        }
    }
}
