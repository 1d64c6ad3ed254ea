//! Flushing translations that CPUs may have cached.

use crate::addr::VirtAddr;

/// What the memory manager asks of the TLBs.
pub trait Tlb {
    /// Drops every cached translation of `pages` pages from `start` on all CPUs that may hold one.
    ///
    /// When it returns, no CPU uses a translation that was removed before the call.
    fn flush_range(&self, start: VirtAddr, pages: u64);

    /// Drops every cached translation on all CPUs, global ones included.
    fn flush_all(&self);
}
