//! What a cache is for and how it is checked (Linux `SLAB_*`, `include/linux/slab.h`).

use bitflags::bitflags;

bitflags! {
    /// How a cache behaves. Names and meaning are Linux's.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SlabFlags: u32 {
        /// Consistency checks on allocation and free (`F`).
        const CONSISTENCY_CHECKS = 1 << 0;
        /// Red zones around objects (`Z`).
        const RED_ZONE = 1 << 1;
        /// Free objects hold a pattern (`P`).
        const POISON = 1 << 2;
        /// Who allocated and freed is recorded (`U`).
        const STORE_USER = 1 << 3;
        /// Every allocation and free is printed (`T`).
        const TRACE = 1 << 4;
        /// Objects start at a cache line, small ones at a part of one.
        const HWCACHE_ALIGN = 1 << 5;
        /// Frames from ZONE_DMA.
        const CACHE_DMA = 1 << 6;
        /// Frames from ZONE_DMA32.
        const CACHE_DMA32 = 1 << 7;
        /// The objects can be reclaimed: counted as SReclaimable.
        const RECLAIM_ACCOUNT = 1 << 8;
        /// The memory of an object keeps its type after it was freed, until every read section that may have found it
        /// has ended: it may be another object of the cache then, but nothing else.
        const TYPESAFE_BY_RCU = 1 << 9;
        /// Charged to the memory control group.
        const ACCOUNT = 1 << 10;
        /// Never shares slabs with another cache.
        const NO_MERGE = 1 << 11;
        /// A size class of `kmalloc`.
        const KMALLOC = 1 << 12;
        /// `failslab` may be limited to caches with this (`A`).
        const FAILSLAB = 1 << 13;
        /// All that a `slab_debug=` option can set.
        const DEBUG = Self::CONSISTENCY_CHECKS.bits() | Self::RED_ZONE.bits() | Self::POISON.bits()
            | Self::STORE_USER.bits() | Self::TRACE.bits();
        /// A cache with one of these shares with nobody.
        const NEVER_MERGE = Self::FAILSLAB.bits() | Self::DEBUG.bits() | Self::TYPESAFE_BY_RCU.bits() | Self::NO_MERGE.bits();
        /// Caches that share agree on these.
        const MERGE_SAME = Self::RECLAIM_ACCOUNT.bits() | Self::CACHE_DMA.bits() | Self::CACHE_DMA32.bits()
            | Self::ACCOUNT.bits();
    }
}
