//! What goes, in order: a record that a model of the lists is compared with (as Linux's tracepoints of `vmscan`).
//!
//! Owns: room for so many pages, the first that go. Invariants: whoever takes a page away writes its place alone; without
//! somebody who asked for a record, a page that goes costs one look at a flag.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Pages that are remembered.
const ROOM: usize = 4096;
/// What stands for an owner that is no file.
const ANON: u64 = u64::MAX;

/// A page that went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evicted {
    /// The number of its inode; none for anonymous memory.
    pub inode: Option<u64>,
    /// Which page of it.
    pub index: u64,
}

/// See the module documentation.
pub struct EvictLog {
    is_on: AtomicBool,
    /// Pages that went since it is on.
    count: AtomicU64,
    pages: [[AtomicU64; 2]; ROOM],
}

impl EvictLog {
    /// It is off.
    #[must_use]
    pub const fn new() -> Self {
        let pages = [const { [const { AtomicU64::new(0) }; 2] }; ROOM];
        Self { is_on: AtomicBool::new(false), count: AtomicU64::new(0), pages }
    }

    /// From now on pages are remembered, or none is. What was is forgotten when it begins.
    pub fn set(&self, on: bool) {
        if on {
            self.count.store(0, Ordering::Relaxed);
        }
        self.is_on.store(on, Ordering::Release);
    }

    /// How many pages went; more than are remembered, perhaps.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Those that are remembered, the first first. For who has switched it off.
    pub fn pages(&self) -> impl Iterator<Item = Evicted> {
        self.pages.iter().take(self.count() as usize).map(|[owner, index]| {
            let owner = owner.load(Ordering::Relaxed);
            Evicted { inode: (owner != ANON).then_some(owner), index: index.load(Ordering::Relaxed) }
        })
    }

    /// A page has gone.
    #[inline]
    pub(super) fn note(&self, inode: Option<u64>, index: u64) {
        if self.is_on.load(Ordering::Acquire) {
            let at = self.count.fetch_add(1, Ordering::AcqRel);
            if let Some([owner, place]) = self.pages.get(at as usize) {
                owner.store(inode.unwrap_or(ANON), Ordering::Relaxed);
                place.store(index, Ordering::Relaxed);
            }
        }
    }
}

impl Default for EvictLog {
    fn default() -> Self {
        Self::new()
    }
}
