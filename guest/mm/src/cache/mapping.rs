//! The pages of one inode (Linux `struct address_space`).
//!
//! Owns: the index, the areas that map it, and what is counted of it. Invariants: `nrpages` is the number of folios in
//! the index; a folio in the index has the flag of its mark set: DIRTY, WRITEBACK, TOWRITE.

use crate::errseq::ErrSeq;
use crate::port::Cpu;
use crate::rmap::AreaTree;
use crate::xarray::{Mark, XArray};
use core::sync::atomic::{AtomicU64, Ordering};

/// See the module documentation. The first field of an [`Inode`](super::Inode).
pub struct AddressSpace {
    /// Folios by index, as handles of their first frame; shadows of those that were evicted, as values.
    pub(crate) pages: XArray,
    /// The areas that map it (`i_mmap`).
    pub(crate) areas: AreaTree,
    pub(super) nrpages: AtomicU64,
    /// Writes that failed.
    pub(crate) wb_err: ErrSeq,
    /// How many pages could not be written.
    pub(super) failures: AtomicU64,
}

impl AddressSpace {
    /// No pages.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pages: XArray::new(),
            areas: AreaTree::new(),
            nrpages: AtomicU64::new(0),
            wb_err: ErrSeq::new(),
            failures: AtomicU64::new(0),
        }
    }

    /// Whether pages are dirty.
    pub(crate) fn is_dirty(&self) -> bool {
        self.pages.is_marked(Mark::Dirty)
    }

    /// Whether pages are dirty or being written.
    pub fn is_writing(&self) -> bool {
        self.is_dirty() || self.pages.is_marked(Mark::Writeback)
    }

    /// How many pages could not be written so far.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// How many areas show it.
    pub fn mmaps(&self, cpu: &impl Cpu) -> u32 {
        self.areas.len(cpu)
    }

    /// How many pages are in memory.
    pub fn nrpages(&self) -> u64 {
        self.nrpages.load(Ordering::Relaxed)
    }
}

impl Default for AddressSpace {
    fn default() -> Self {
        Self::new()
    }
}
