//! Checks of a NUMA topology: what the VMM refuses before boot and the guest when it reads SRAT and SLIT.
//!
//! Owns the rules and their texts. Parsing options and tables stays outside. Source: ACPI specification,
//! "System Locality Information Table": 10 is local, remote is larger, 255 means unreachable; Linux
//! `slit_valid()` for the check of the diagonal.

use core::fmt;

/// Distance of a node to itself.
pub const LOCAL_DISTANCE: u8 = 10;
/// Distance between two nodes when nothing else is said.
pub const REMOTE_DISTANCE: u8 = 20;
/// Largest distance of nodes that can reach each other.
pub const MAX_DISTANCE: u8 = 254;
/// Most nodes of a machine: what the memory manager numbers.
pub const MAX_NODES: usize = 8;

/// What is wrong with a distance matrix. Every text begins with `invalid SLIT entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistanceError {
    /// The matrix does not have `nodes * nodes` entries.
    Size {
        /// Number of nodes.
        nodes: usize,
        /// Number of entries.
        entries: usize,
    },
    /// A node's distance to itself is not 10.
    Local {
        /// The node.
        node: usize,
        /// The entry.
        distance: u8,
    },
    /// A distance between two nodes is not 11 to 254.
    Remote {
        /// From this node.
        from: usize,
        /// To this node.
        to: usize,
        /// The entry.
        distance: u8,
    },
    /// The way back has another length.
    Asymmetric {
        /// From this node.
        from: usize,
        /// To this node.
        to: usize,
        /// The entry.
        there: u8,
        /// The entry of the way back.
        back: u8,
    },
}

impl fmt::Display for DistanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid SLIT entry: ")?;
        match *self {
            Self::Size { nodes, entries } => {
                write!(f, "{entries} distances for {nodes} nodes, give {nodes} for each node")
            }
            Self::Local { node, distance } => {
                write!(f, "distance of node {node} to itself is {distance}, use {LOCAL_DISTANCE}")
            }
            Self::Remote { from, to, distance } => {
                write!(f, "distance of node {from} to node {to} is {distance}, use 11 to {MAX_DISTANCE}")
            }
            Self::Asymmetric { from, to, there, back } => write!(
                f,
                "distance of node {from} to node {to} is {there} but {back} back, use the same both ways"
            ),
        }
    }
}

impl core::error::Error for DistanceError {}

/// Checks a distance matrix: `nodes` rows of `nodes` entries each.
///
/// # Errors
/// The first entry that breaks a rule, row by row.
pub fn check_distances(nodes: usize, matrix: &[u8]) -> Result<(), DistanceError> {
    if nodes == 0 || nodes.checked_mul(nodes) != Some(matrix.len()) {
        return Err(DistanceError::Size { nodes, entries: matrix.len() });
    }
    let at = |from: usize, to: usize| matrix.get(from * nodes + to).copied().unwrap_or(0);
    for from in 0..nodes {
        for to in 0..nodes {
            let distance = at(from, to);
            if from == to && distance != LOCAL_DISTANCE {
                return Err(DistanceError::Local { node: from, distance });
            }
            if from != to && !(LOCAL_DISTANCE + 1..=MAX_DISTANCE).contains(&distance) {
                return Err(DistanceError::Remote { from, to, distance });
            }
            // The way back was read in an earlier row, so it is known to be in range.
            if from > to && at(to, from) != distance {
                return Err(DistanceError::Asymmetric {
                    from: to,
                    to: from,
                    there: at(to, from),
                    back: distance,
                });
            }
        }
    }
    Ok(())
}

/// What is wrong with the nodes of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopologyError {
    /// No node, or more than [`MAX_NODES`].
    NodeCount {
        /// Number of nodes.
        nodes: usize,
    },
    /// A CPU is on a node that does not exist.
    UnknownNode {
        /// The CPU.
        cpu: usize,
        /// The node.
        node: u32,
    },
    /// No node has memory.
    NoMemory,
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NodeCount { nodes } => write!(f, "{nodes} NUMA nodes, use 1 to {MAX_NODES}"),
            Self::UnknownNode { cpu, node } => {
                write!(f, "CPU {cpu} is on node {node}, which is not defined: add the node or move the CPU")
            }
            Self::NoMemory => f.write_str("no NUMA node has memory: give at least one node mem="),
        }
    }
}

impl core::error::Error for TopologyError {}

/// Checks the nodes of a machine: `cpu_nodes` holds the node of each CPU, `node_memory` the bytes of each
/// node. A node without CPUs or without memory is fine.
///
/// # Errors
/// The first rule that is broken.
pub fn check_topology(cpu_nodes: &[u32], node_memory: &[u64]) -> Result<(), TopologyError> {
    let nodes = node_memory.len();
    if nodes == 0 || nodes > MAX_NODES {
        return Err(TopologyError::NodeCount { nodes });
    }
    for (cpu, node) in cpu_nodes.iter().copied().enumerate() {
        if node as usize >= nodes {
            return Err(TopologyError::UnknownNode { cpu, node });
        }
    }
    if node_memory.iter().all(|bytes| *bytes == 0) {
        return Err(TopologyError::NoMemory);
    }
    Ok(())
}
