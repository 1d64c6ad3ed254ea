//! Everything that boot builds: the ground, the nodes with their zones, the topology.
//!
//! Owns: the one place they are in. Invariants: built once in place, then shared; only the insides of locks and
//! counters change.

use super::ground::Ground;
use super::node::Node;
use super::topology::Topology;
use super::zone::Zone;
use crate::addr::NodeId;
use crate::frame::ZoneId;

/// See the module documentation.
pub(super) struct Layout {
    pub(super) ground: Ground,
    pub(super) nodes: [Node; NodeId::MAX_NODES],
    pub(super) topology: Topology,
}

impl Layout {
    /// Before boot.
    pub(super) const fn empty() -> Self {
        Self {
            ground: Ground::EMPTY,
            nodes: [const { Node::empty() }; NodeId::MAX_NODES],
            topology: Topology::UNKNOWN,
        }
    }

    /// A node, online or not.
    #[inline(always)]
    pub(super) fn node(&self, id: NodeId) -> &Node {
        // SAFETY: `index` is below `NodeId::MAX_NODES`, the length of the array.
        unsafe { self.nodes.get_unchecked(id.index()) }
    }

    /// A zone, populated or not.
    #[inline(always)]
    pub(super) fn zone(&self, id: ZoneId) -> &Zone {
        self.node(id.node).zone(id.kind)
    }
}
