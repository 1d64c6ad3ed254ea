//! The MMU, cut at the codec of a page-table entry: walking, splitting and freeing tables is portable.

use crate::addr::PhysAddr;
use bitflags::bitflags;

bitflags! {
    /// What a page-table entry says, apart from its frame: the common language of all codecs.
    ///
    /// Bit positions are this crate's own; a codec translates them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PteBits: u32 {
        /// The entry translates.
        const PRESENT = 1 << 0;
        /// Writes are allowed.
        const WRITE = 1 << 1;
        /// Code outside the most privileged ring may use it.
        const USER = 1 << 2;
        /// Write-through caching.
        const WRITE_THROUGH = 1 << 3;
        /// Uncached.
        const NO_CACHE = 1 << 4;
        /// The MMU has used the entry.
        const ACCESSED = 1 << 5;
        /// The MMU has written through the entry.
        const DIRTY = 1 << 6;
        /// The entry is a leaf above the last level (2 MiB or 1 GiB).
        const HUGE = 1 << 7;
        /// The translation survives a change of root.
        const GLOBAL = 1 << 8;
        /// Instruction fetches fault.
        const NO_EXEC = 1 << 9;
        /// Software: the frame has no descriptor to count (Linux `_PAGE_SPECIAL`).
        const SPECIAL = 1 << 10;
        /// Software: written since the last soft-dirty clear.
        const SOFT_DIRTY = 1 << 11;
        /// Software: write-protected by userfaultfd.
        const UFFD_WP = 1 << 12;
    }
}

/// The kind of access that is to be translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// The codec of one page-table format, and the root in use.
pub trait Mmu {
    /// Table levels: 4 on x86-64, 5 with LA57.
    fn levels(&self) -> u32;
    /// Whether a leaf may stand at `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB).
    fn leaf_allowed(&self, level: u32) -> bool;
    /// The raw entry for a frame or table at `addr` with `bits`.
    fn encode(&self, addr: PhysAddr, bits: PteBits) -> u64;
    /// What a raw present entry says.
    fn decode(&self, raw: u64) -> (PhysAddr, PteBits);
    /// The raw bits that `bits` stand for, for an atomic clear or set of A, D or W in place.
    fn mask(&self, bits: PteBits) -> u64;
    /// Makes `root` the active page table of this CPU.
    ///
    /// # Safety
    /// `root` maps the running code, its stack and everything the memory manager touches.
    unsafe fn activate(&self, root: PhysAddr);
    /// The active root of this CPU.
    fn active_root(&self) -> PhysAddr;
}
