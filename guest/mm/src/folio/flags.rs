//! The flags of a folio, by Linux's names (`include/linux/page-flags.h`).

use bitflags::bitflags;

bitflags! {
    /// What is known of a folio beside its counts.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FolioFlags: u16 {
        /// Goes to swap, not to a file (`PG_swapbacked`).
        const SWAPBACKED = 1 << 0;
        /// Holds what it should: read in, or filled with zeroes (`PG_uptodate`).
        const UPTODATE = 1 << 1;
        /// Holds what its file does not have yet (`PG_dirty`).
        const DIRTY = 1 << 2;
        /// Somebody has it to himself: it is being read in, or taken away (`PG_locked`).
        const LOCKED = 1 << 3;
        /// Comes from a pool of huge pages, and goes back there (`hugetlb`).
        const HUGETLB = 1 << 4;
        /// Is being written to its file or to swap (`PG_writeback`).
        const WRITEBACK = 1 << 5;
        /// Was used since it was looked at last (`PG_referenced`).
        const REFERENCED = 1 << 6;
        /// On an active list, or on its way there (`PG_active`).
        const ACTIVE = 1 << 7;
        /// On a list of reclaim (`PG_lru`).
        const LRU = 1 << 8;
        /// Belongs to the set of pages that is used again and again (`PG_workingset`).
        const WORKINGSET = 1 << 9;
        /// Whoever reads it starts the next window of readahead (`PG_readahead`). Of a page that is being written: it is
        /// to go as soon as it is (`PG_reclaim`).
        const READAHEAD = 1 << 10;
        /// Has a slot of a swap area (`PG_swapcache`).
        const SWAPCACHE = 1 << 11;
        /// Cannot be reclaimed (`PG_unevictable`).
        const UNEVICTABLE = 1 << 12;
        /// Somebody waits for it to be unlocked or written (`PG_waiters`).
        const WAITERS = 1 << 13;
        /// Is to go on a list of reclaim: a batch of a CPU names it. Linux has no such flag, for its batches have references.
        const PENDING = 1 << 14;
        /// Its place on the disk is not its file's to read yet: nothing was written there (Linux `BH_New`, `BH_Unwritten`).
        const UNWRITTEN = 1 << 15;
    }
}
