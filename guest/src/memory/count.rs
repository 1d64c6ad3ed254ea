//! Counters by node: how many frames of a kind are in use on each.

use super::PHYS;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{NodeId, Pfn};

/// Frames in use, by the node they are on.
pub struct NodeCount([AtomicU64; NodeId::MAX_NODES]);

impl NodeCount {
    /// None.
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; NodeId::MAX_NODES])
    }

    /// Counts `frames` more on `node`.
    pub fn add(&self, node: NodeId, frames: u64) {
        self.0[node.index()].fetch_add(frames, Ordering::Relaxed);
    }

    /// Counts `frames` less on `node`.
    pub fn remove(&self, node: NodeId, frames: u64) {
        self.0[node.index()].fetch_sub(frames, Ordering::Relaxed);
    }

    /// Those on one node.
    pub fn on(&self, node: NodeId) -> u64 {
        self.0[node.index()].load(Ordering::Relaxed)
    }

    /// Those on all nodes.
    pub fn total(&self) -> u64 {
        NodeId::all().map(|node| self.on(node)).sum()
    }
}

/// The node of an allocated frame.
pub fn node_of(pfn: Pfn) -> NodeId {
    PHYS.pageblock(pfn).map_or(NodeId::default(), |block| block.zone().node)
}
