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
        /// Comes from a pool of huge pages, and goes back there (`hugetlb`).
        const HUGETLB = 1 << 4;
    }
}
