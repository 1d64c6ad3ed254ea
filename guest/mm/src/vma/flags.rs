//! What may be done in an area: Linux's `VM_*` flags (`include/linux/mm.h`), with its bit positions.

use crate::port::PteBits;
use bitflags::bitflags;

bitflags! {
    /// Rights and treatment of an area.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct VmFlags: u32 {
        /// May be read.
        const READ = 0x1;
        /// May be written.
        const WRITE = 0x2;
        /// May be executed.
        const EXEC = 0x4;
        /// Writes are seen by all who share it.
        const SHARED = 0x8;
        /// Grows towards lower addresses when it is touched below its start.
        const GROWSDOWN = 0x100;
        /// Stays in memory (`mlock`).
        const LOCKED = 0x2000;
        /// Will be read in order (`MADV_SEQUENTIAL`).
        const SEQ_READ = 0x8000;
        /// Will be read at random (`MADV_RANDOM`).
        const RAND_READ = 0x1_0000;
        /// A clone does not get it (`MADV_DONTFORK`).
        const DONTCOPY = 0x2_0000;
        /// Counts for what has been promised (overcommit).
        const ACCOUNT = 0x10_0000;
        /// Does not count for what has been promised (`MAP_NORESERVE`).
        const NORESERVE = 0x20_0000;
        /// Made of pages from a pool of huge pages.
        const HUGETLB = 0x40_0000;
        /// Wants huge pages (`MADV_HUGEPAGE`).
        const HUGEPAGE = 0x2000_0000;
        /// Wants no huge pages (`MADV_NOHUGEPAGE`).
        const NOHUGEPAGE = 0x4000_0000;
    }
}

impl VmFlags {
    /// The rights.
    pub const ACCESS: Self = Self::READ.union(Self::WRITE).union(Self::EXEC);

    /// What an entry for a page of such an area says at most (Linux `vm_get_page_prot`); `user` is the bit that a
    /// machine's contexts need. Private memory becomes writable only when a page is the area's alone.
    #[inline]
    #[must_use]
    pub fn pte_bits(self, user: PteBits) -> PteBits {
        let mut bits = PteBits::ACCESSED | user;
        bits.set(PteBits::NO_EXEC, !self.contains(Self::EXEC));
        bits.set(PteBits::WRITE, self.contains(Self::WRITE));
        bits
    }

    /// Whether nothing may be done.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        !self.intersects(Self::ACCESS)
    }
}
