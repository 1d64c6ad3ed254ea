//! Flushing translations that CPUs may have cached.

use crate::addr::VirtAddr;

/// What the memory manager asks of the TLBs.
///
/// The calls for all CPUs also drop what a CPU has cached of the tables on the way (x86 paging-structure caches), so that
/// a table that was unlinked before the call may be freed after it.
pub trait Tlb {
    /// Drops every cached translation of `pages` pages from `start` on all CPUs that may hold one.
    ///
    /// When it returns, no CPU uses a translation that was removed before the call.
    fn flush_range(&self, start: VirtAddr, pages: u64);

    /// As [`Tlb::flush_range`], on the CPUs whose bit is set in `cpus` only: no other uses the tables that changed.
    fn flush_range_on(&self, cpus: u64, start: VirtAddr, pages: u64);

    /// Drops every cached translation on all CPUs, global ones included.
    fn flush_all(&self);

    /// Drops what this CPU has cached of the page at `va`, and nothing else: for mappings that only this CPU uses.
    fn flush_local(&self, va: VirtAddr);
}
