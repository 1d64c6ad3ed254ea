//! What is in use, to be compared before and after: nothing may be lost.

use crate::memory::PHYS;
use crate::memory::slab::SLABS;
use crate::memory::vm::CACHE;
use core::fmt;
use mm::xarray::NodeCache;

/// What is in use at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Free pages, those on the lists of CPUs included.
    pub free_pages: u64,
    /// Pages whose owners have dropped them.
    pub leaked_pages: u64,
}

impl Balance {
    /// The balance now, without what caches keep for their next objects and what waits for readers to be done with it.
    pub fn take() -> Self {
        CACHE.nodes().map(NodeCache::settle);
        for cache in SLABS.caches() {
            SLABS.flush_all(cache);
            SLABS.shrink(cache);
        }
        // What a CPU keeps on its lists is free, too.
        let free_pages = PHYS.total_free_pages() + PHYS.cached_pages();
        Self { free_pages, leaked_pages: PHYS.leaked_pages() }
    }

    /// What has changed until `after`, as facts.
    pub fn difference(&self, after: &Self) -> impl fmt::Display + use<> {
        Difference {
            pages: after.free_pages.wrapping_sub(self.free_pages).cast_signed(),
            leaked: after.leaked_pages.wrapping_sub(self.leaked_pages),
        }
    }
}

struct Difference {
    pages: i64,
    leaked: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "free_diff={} leaked={}", self.pages, self.leaked)
    }
}
