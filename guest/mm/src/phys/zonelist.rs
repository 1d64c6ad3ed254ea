//! In which order zones are asked for memory.
//!
//! Owns: the order of nodes by distance and the lists built from it. Invariants: a list starts with the zones of
//! its own node, highest first; only zones with pages are in it. Source: Linux `mm/page_alloc.c`
//! (`build_zonelists`, `find_next_best_node`).

use super::topology::Topology;
use crate::addr::NodeId;
use crate::frame::{ZoneId, ZoneKind};

const LEN: usize = NodeId::MAX_NODES * ZoneKind::COUNT;
/// Linux's factor that makes the distance count more than the load of a node.
const LOAD_SCALE: u32 = 1024;

/// The zones that an allocation on one node may come from, best first.
#[derive(Clone, Copy)]
pub(super) struct Zonelist {
    zones: [ZoneId; LEN],
    len: usize,
    /// How many of them are on the node itself (Linux `ZONELIST_NOFALLBACK`).
    local: usize,
}

impl Zonelist {
    /// No zones.
    pub(super) const EMPTY: Self =
        Self { zones: [ZoneId { node: NodeId::ZERO, kind: ZoneKind::Dma }; LEN], len: 0, local: 0 };

    /// All zones, best first.
    #[inline(always)]
    pub(super) fn all(&self) -> &[ZoneId] {
        self.zones.get(..self.len).unwrap_or_default()
    }

    /// The zones of the node itself.
    #[inline(always)]
    pub(super) fn local(&self) -> &[ZoneId] {
        self.zones.get(..self.local).unwrap_or_default()
    }

    fn push(&mut self, zone: ZoneId) {
        if let Some(slot) = self.zones.get_mut(self.len) {
            *slot = zone;
            self.len += 1;
        }
    }
}

/// Builds the lists of all nodes, in node order, because each list adds to the load that the next one avoids.
pub(super) struct Builder<'a, F> {
    topology: &'a Topology,
    /// Whether a zone has pages.
    has_pages: F,
    load: [u32; NodeId::MAX_NODES],
}

impl<'a, F: Fn(ZoneId) -> bool> Builder<'a, F> {
    /// Starts with no load on any node.
    pub(super) fn new(topology: &'a Topology, has_pages: F) -> Self {
        Self { topology, has_pages, load: [0; NodeId::MAX_NODES] }
    }

    /// The list of the next node.
    pub(super) fn build(&mut self, local: NodeId) -> Zonelist {
        let mut list = Zonelist::EMPTY;
        let mut used = 0_u32;
        let mut before = local;
        while let Some(node) = self.next_best(local, used) {
            used |= 1 << node.index();
            // The first node of a group at the same distance gets load, so that others take turns.
            if self.topology.distance(local, node) != self.topology.distance(local, before)
                && let Some(load) = self.load.get_mut(node.index())
            {
                *load += 1;
            }
            before = node;
            for kind in ZoneKind::ALL.into_iter().rev() {
                if (self.has_pages)(ZoneId { node, kind }) {
                    list.push(ZoneId { node, kind });
                }
            }
            if node == local {
                list.local = list.len;
            }
        }
        list
    }

    /// The nearest node with memory that is not `used`: the node itself, then by distance, preferring nodes above
    /// it, nodes without CPUs and nodes that fewer others prefer.
    fn next_best(&self, local: NodeId, used: u32) -> Option<NodeId> {
        let free = |node: &NodeId| used >> node.index() & 1 == 0 && self.has_memory(*node);
        if free(&local) {
            return Some(local);
        }
        NodeId::all().filter(free).min_by_key(|&node| {
            let below = u32::from(node < local);
            let with_cpus = u32::from(self.topology.cpus_of(node).next().is_some());
            let distance = u32::from(self.topology.distance(local, node));
            let load = self.load.get(node.index()).copied().unwrap_or(0);
            (distance + below + with_cpus) * LOAD_SCALE + load
        })
    }

    fn has_memory(&self, node: NodeId) -> bool {
        ZoneKind::ALL.into_iter().any(|kind| (self.has_pages)(ZoneId { node, kind }))
    }
}
