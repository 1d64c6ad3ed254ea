//! What caches hold, for `/proc/slabinfo` and the counters of `/proc/meminfo` and `/proc/vmstat`.
//!
//! Owns: the sums. Counters are read without a lock, so while other CPUs work a sum is as old as its oldest part.

use super::cache::Cache;
use super::{SlabFlags, Slabs};
use crate::addr::{NodeId, Order};
use crate::frame::FrameIdx;
use crate::port::Machine;
use core::sync::atomic::Ordering::Relaxed;

/// What one cache holds and has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheStats {
    /// Objects in use.
    pub active_objects: u64,
    /// Objects there are.
    pub objects: u64,
    /// Slabs there are.
    pub slabs: u64,
    /// Slabs on the lists of nodes.
    pub partial_slabs: u64,
    /// Allocations since boot.
    pub allocs: u64,
    /// Frees since boot.
    pub frees: u64,
    /// Allocations that did not find an object on their CPU's list.
    pub slow_allocs: u64,
    /// How often the lock of a node was taken.
    pub list_lock: u64,
}

/// Pages of all caches of one node or of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlabTotals {
    /// Pages of caches that can be reclaimed.
    pub reclaimable: u64,
    /// Pages of all other caches.
    pub unreclaimable: u64,
    /// Pages of objects that are too large for a cache.
    pub large: u64,
}

impl Cache {
    /// What it holds now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let mut stats = CacheStats::default();
        for part in self.all_cpus() {
            stats.allocs += part.allocs.load(Relaxed);
            stats.frees += part.frees.load(Relaxed);
            stats.slow_allocs += part.slow.load(Relaxed);
        }
        for node in self.all_nodes() {
            stats.slabs += node.slabs.load(Relaxed);
            stats.partial_slabs += node.partial_count();
            stats.list_lock += node.locked.load(Relaxed);
        }
        stats.active_objects = stats.allocs.saturating_sub(stats.frees);
        stats.objects = stats.slabs * u64::from(self.geometry.objects);
        stats
    }
}

impl<'p, M: Machine> Slabs<'p, M> {
    /// Pages of one node's slabs and large objects, or of all.
    pub fn totals(&self, node: Option<NodeId>) -> SlabTotals {
        let mut totals = SlabTotals::default();
        for cache in self.caches() {
            let slabs: u64 = match node {
                Some(node) if node.index() >= cache.node_count as usize => 0,
                Some(node) => cache.node(node.index()).slabs.load(Relaxed),
                None => cache.all_nodes().map(|node| node.slabs.load(Relaxed)).sum(),
            };
            let pages = slabs * cache.geometry.order.pages();
            if cache.flags.contains(SlabFlags::RECLAIM_ACCOUNT) {
                totals.reclaimable += pages;
            } else {
                totals.unreclaimable += pages;
            }
        }
        let is_asked = |n: usize| node.is_none_or(|node| node.index() == n);
        let large = self.large.iter().enumerate().filter(|(n, _)| is_asked(*n));
        totals.large = large.map(|(_, pages)| pages.load(Relaxed)).sum();
        totals
    }

    /// Counts a large object of `order` that came or went.
    pub(super) fn count_large(&self, idx: FrameIdx, order: Order, came: bool) {
        let block = self.ground().and_then(|ground| ground.table.lookup(idx.pfn()));
        let pages = block.and_then(|(_, block)| self.large.get(block.zone().node.index()));
        match pages {
            Some(pages) if came => pages.fetch_add(order.pages(), Relaxed),
            Some(pages) => pages.fetch_sub(order.pages(), Relaxed),
            None => return,
        };
    }
}
