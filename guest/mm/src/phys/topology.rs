//! Which CPU is on which node, and how far the nodes are apart.
//!
//! Owns: the facts that firmware tables (SRAT, SLIT) or `numa=fake=` give. Invariants: distances are relative,
//! 10 means local; a CPU that is not named is on node 0. Source: ACPI 6.5, 5.2.16 and 5.2.17.

use crate::addr::NodeId;
use crate::port::CpuId;

/// How many CPUs the topology can hold.
pub const MAX_CPUS: usize = 64;
/// The distance from a node to itself.
pub const LOCAL_DISTANCE: u8 = 10;
/// The distance between nodes when firmware says nothing.
pub const REMOTE_DISTANCE: u8 = 20;

/// See the module documentation.
#[derive(Clone)]
pub struct Topology {
    cpu_node: [Option<NodeId>; MAX_CPUS],
    distance: [[u8; NodeId::MAX_NODES]; NodeId::MAX_NODES],
}

impl Topology {
    /// Before boot; all zero.
    pub(super) const UNKNOWN: Self =
        Self { cpu_node: [None; MAX_CPUS], distance: [[0; NodeId::MAX_NODES]; NodeId::MAX_NODES] };

    /// No CPU is named; every node is as far from every other.
    #[must_use]
    pub const fn new() -> Self {
        let mut distance = [[REMOTE_DISTANCE; NodeId::MAX_NODES]; NodeId::MAX_NODES];
        let mut rest: &mut [[u8; NodeId::MAX_NODES]] = &mut distance;
        let mut node = 0;
        // A diagonal without indexing: row `node` is the first of what is left.
        while let Some((row, later)) = rest.split_first_mut() {
            if let Some((_, tail)) = row.split_at_mut_checked(node)
                && let Some((own, _)) = tail.split_first_mut()
            {
                *own = LOCAL_DISTANCE;
            }
            rest = later;
            node += 1;
        }
        Self { cpu_node: [None; MAX_CPUS], distance }
    }

    /// Puts `cpu` on `node`. Whether there is room for that CPU.
    #[must_use = "a CPU above the capacity is not recorded"]
    pub fn set_cpu_node(&mut self, cpu: CpuId, node: NodeId) -> bool {
        self.cpu_node.get_mut(cpu.0 as usize).map(|slot| *slot = Some(node)).is_some()
    }

    /// Sets the distance from one node to another, in one direction.
    pub fn set_distance(&mut self, from: NodeId, to: NodeId, distance: u8) {
        if let Some(slot) = self.distance.get_mut(from.index()).and_then(|row| row.get_mut(to.index())) {
            *slot = distance;
        }
    }

    /// The node of `cpu`.
    #[inline(always)]
    #[must_use]
    pub fn node_of(&self, cpu: CpuId) -> NodeId {
        self.cpu_node.get(cpu.0 as usize).copied().flatten().unwrap_or_default()
    }

    /// The distance from one node to another.
    #[must_use]
    pub fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        self.distance
            .get(from.index())
            .and_then(|row| row.get(to.index()))
            .copied()
            .unwrap_or(REMOTE_DISTANCE)
    }

    /// The CPUs of a node, ascending.
    pub fn cpus_of(&self, node: NodeId) -> impl Iterator<Item = CpuId> {
        (0..).zip(&self.cpu_node).filter(move |(_, on)| **on == Some(node)).map(|(cpu, _)| CpuId(cpu))
    }

    /// Whether every node is at distance 10 from itself and farther from all others (Linux `slit_valid`).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        NodeId::all().all(|from| {
            NodeId::all().all(|to| {
                (self.distance(from, to) == LOCAL_DISTANCE) == (from == to)
                    && self.distance(from, to) >= LOCAL_DISTANCE
            })
        })
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self::new()
    }
}
