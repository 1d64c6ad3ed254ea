//! vCPUs, NUMA nodes and the distances between them.
//!
//! Owns: the rules a topology must obey, and the defaults. Stays outside: where node memory lies
//! (`memory::layout`), how the guest is told (`acpi`).
//! Invariants of a [`Topology`]: nodes are numbered from 0 without gaps; every vCPU belongs to one
//! node; RAM is at least 16 MiB; distances are symmetric, 10 from a node to itself and 11 to 254
//! elsewhere (ACPI specification 6.4, section 5.2.17).

use shared::layout::MIN_MEM;

use super::numa::NodeSpec;
use super::size::SizeText;
use crate::memory::layout::RAM_GRANULE;

/// Most vCPUs of a machine.
pub const MAX_CPUS: u32 = 64;
/// Most NUMA nodes of a machine.
pub const MAX_NODES: usize = 16;
/// Largest RAM, in bytes.
pub const MAX_MEM: u64 = 256 << 30;

/// vCPUs when nothing else is said.
const DEFAULT_CPUS: u32 = 2;
/// RAM when nothing else is said, in bytes.
const DEFAULT_MEM: u64 = 512 << 20;
/// Nodes when neither vCPUs nor memory nor nodes are given.
const DEFAULT_NODES: u32 = 2;
/// Distance of a node to itself.
const LOCAL_DISTANCE: u8 = 10;
/// Distance to another node when nothing else is said.
const REMOTE_DISTANCE: u8 = 20;
/// 255 means "unreachable", which no node of one machine is.
const MAX_DISTANCE: u8 = 254;

/// What is wrong with a topology; each text is a complete line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TopologyError {
    /// Too little RAM.
    #[error("memory size {} is below the minimum {}", SizeText(*.0), SizeText(MIN_MEM))]
    TooSmall(u64),
    /// Too much RAM.
    #[error("memory size {} is above the maximum {}", SizeText(*.0), SizeText(MAX_MEM))]
    TooLarge(u64),
    /// RAM that would leave a piece of a 2 MiB page.
    #[error("memory size {} is not a multiple of {}", SizeText(*.0), SizeText(RAM_GRANULE))]
    Unaligned(u64),
    /// No vCPU, or too many.
    #[error("{0} vCPUs: a machine has 1 to {MAX_CPUS}")]
    CpuCount(u32),
    /// Too many nodes.
    #[error("{0} NUMA nodes: a machine has at most {MAX_NODES}")]
    NodeCount(usize),
    /// Node numbers with a gap or twice the same.
    #[error("NUMA nodes must be numbered 0 to {} without gaps, each given once", .0 - 1)]
    NodeNumbers(usize),
    /// A vCPU in two nodes.
    #[error("vCPU {0} is in more than one NUMA node; put it into one")]
    CpuTwice(u32),
    /// A vCPU in no node.
    #[error("vCPU {0} is in no NUMA node; add it to the cpus= of one")]
    CpuMissing(u32),
    /// A node names a vCPU beyond --cpus.
    #[error("NUMA nodes name vCPU {cpu}, but --cpus {cpus} ends at vCPU {}; raise --cpus or drop it", .cpus - 1)]
    CpuBeyond {
        /// The vCPU.
        cpu: u32,
        /// The value of --cpus.
        cpus: u32,
    },
    /// The memory of the nodes is not --mem.
    #[error(
        "the NUMA nodes have {} of memory, --mem says {}; make them equal or drop --mem",
        SizeText(*.nodes), SizeText(*.mem)
    )]
    MemorySum {
        /// Bytes of all nodes.
        nodes: u64,
        /// Bytes of --mem.
        mem: u64,
    },
    /// A distance to a node that does not exist.
    #[error("invalid SLIT entry {from}:{to}={value}: there is no node {to}")]
    DistanceNode {
        /// Node the distance starts at.
        from: u32,
        /// Node it leads to.
        to: u32,
        /// The distance.
        value: u32,
    },
    /// A distance to the node itself other than 10.
    #[error("invalid SLIT entry {node}:{node}={value}: the distance of a node to itself is {LOCAL_DISTANCE}")]
    DistanceLocal {
        /// The node.
        node: u32,
        /// The distance.
        value: u32,
    },
    /// A distance outside what firmware may report.
    #[error(
        "invalid SLIT entry {from}:{to}={value}: \
         a distance to another node is {} to {MAX_DISTANCE}", LOCAL_DISTANCE + 1
    )]
    DistanceRange {
        /// Node the distance starts at.
        from: u32,
        /// Node it leads to.
        to: u32,
        /// The distance.
        value: u32,
    },
    /// Two different distances between the same nodes.
    #[error("invalid SLIT entry {from}:{to}={value}: node {to} says {other}; distances are symmetric")]
    DistanceAsymmetric {
        /// Node the distance starts at.
        from: u32,
        /// Node it leads to.
        to: u32,
        /// The distance.
        value: u32,
        /// The distance the other way round.
        other: u8,
    },
}

/// A checked topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Bytes of RAM per node.
    nodes: Vec<u64>,
    /// Node per vCPU.
    cpu_nodes: Vec<u32>,
    /// Distances, row by row.
    distances: Vec<Vec<u8>>,
}

impl Topology {
    /// Checks what the command line says; `None` and an empty slice stand for flags not given.
    pub fn new(cpus: Option<u32>, mem: Option<u64>, numa: &[NodeSpec]) -> Result<Self, TopologyError> {
        let nodes = match numa {
            [] => default_nodes(cpus, mem)?,
            _ => sorted_nodes(numa)?,
        };
        let nodes = nodes.as_slice();
        check_memory(mem, nodes)?;
        Ok(Self {
            nodes: nodes.iter().map(|node| node.memory).collect(),
            cpu_nodes: cpu_nodes(cpus, nodes)?,
            distances: distances(nodes)?,
        })
    }

    /// Bytes of RAM per node, by node number.
    pub fn nodes(&self) -> &[u64] {
        &self.nodes
    }

    /// The node of each vCPU, by vCPU index.
    pub fn cpu_nodes(&self) -> impl Iterator<Item = u32> {
        self.cpu_nodes.iter().copied()
    }

    /// How many vCPUs there are.
    pub fn cpu_count(&self) -> u8 {
        // At most `MAX_CPUS`.
        self.cpu_nodes.len() as u8
    }

    /// Bytes of RAM of the machine.
    pub fn memory(&self) -> u64 {
        self.nodes.iter().sum()
    }

    /// The distance between two nodes; that of unconnected ones when there is no such node.
    pub fn distance(&self, from: usize, to: usize) -> u8 {
        self.distances.get(from).and_then(|row| row.get(to)).copied().unwrap_or(MAX_DISTANCE)
    }
}

/// One node with everything, or two equal ones when the command line says nothing at all.
fn default_nodes(cpus: Option<u32>, mem: Option<u64>) -> Result<Vec<NodeSpec>, TopologyError> {
    let count = if cpus.is_none() && mem.is_none() { DEFAULT_NODES } else { 1 };
    let cpus = cpus.unwrap_or(DEFAULT_CPUS);
    if cpus == 0 || cpus > MAX_CPUS {
        return Err(TopologyError::CpuCount(cpus));
    }
    let memory = mem.unwrap_or(DEFAULT_MEM) / u64::from(count);
    let share = cpus / count;
    let node =
        |id| NodeSpec { id, cpus: (id * share..(id + 1) * share).collect(), memory, distances: Vec::new() };
    Ok((0..count).map(node).collect())
}

fn sorted_nodes(numa: &[NodeSpec]) -> Result<Vec<NodeSpec>, TopologyError> {
    if numa.len() > MAX_NODES {
        return Err(TopologyError::NodeCount(numa.len()));
    }
    let mut nodes = numa.to_vec();
    nodes.sort_by_key(|node| node.id);
    if (0..).zip(&nodes).any(|(expected, node)| node.id != expected) {
        return Err(TopologyError::NodeNumbers(numa.len()));
    }
    Ok(nodes)
}

fn check_memory(mem: Option<u64>, nodes: &[NodeSpec]) -> Result<(), TopologyError> {
    let total = nodes.iter().fold(0_u64, |sum, node| sum.saturating_add(node.memory));
    let sizes = nodes.iter().map(|node| node.memory);
    match total {
        _ if mem.is_some_and(|mem| mem != total) => {
            Err(TopologyError::MemorySum { nodes: total, mem: mem.unwrap_or(total) })
        }
        ..MIN_MEM => Err(TopologyError::TooSmall(total)),
        total if total > MAX_MEM => Err(TopologyError::TooLarge(total)),
        _ => match sizes.into_iter().find(|size| size % RAM_GRANULE != 0) {
            Some(size) => Err(TopologyError::Unaligned(size)),
            None => Ok(()),
        },
    }
}

fn cpu_nodes(cpus: Option<u32>, nodes: &[NodeSpec]) -> Result<Vec<u32>, TopologyError> {
    let named = nodes.iter().flat_map(|node| &node.cpus).max().map_or(0, |last| last.saturating_add(1));
    let count = cpus.unwrap_or(named);
    if count == 0 || count > MAX_CPUS {
        return Err(TopologyError::CpuCount(count));
    }
    let mut owners = vec![None; count as usize];
    for node in nodes {
        for &cpu in &node.cpus {
            match owners.get_mut(cpu as usize) {
                Some(owner @ None) => *owner = Some(node.id),
                Some(Some(_)) => return Err(TopologyError::CpuTwice(cpu)),
                None => return Err(TopologyError::CpuBeyond { cpu, cpus: count }),
            }
        }
    }
    (0..).zip(owners).map(|(cpu, owner)| owner.ok_or(TopologyError::CpuMissing(cpu))).collect()
}

fn distances(nodes: &[NodeSpec]) -> Result<Vec<Vec<u8>>, TopologyError> {
    let mut given = vec![vec![None; nodes.len()]; nodes.len()];
    for node in nodes {
        for &(to, value) in &node.distances {
            let from = node.id;
            let entry = given.get_mut(from as usize).and_then(|row| row.get_mut(to as usize));
            let entry = entry.ok_or(TopologyError::DistanceNode { from, to, value })?;
            *entry = Some(check_distance(from, to, value)?);
        }
    }
    let at = |from: usize, to: usize| given.get(from).and_then(|row| row.get(to)).copied().flatten();
    let entry = |from: usize, to: usize| match (at(from, to), at(to, from)) {
        _ if from == to => Ok(LOCAL_DISTANCE),
        (Some(value), Some(other)) if value != other => Err(TopologyError::DistanceAsymmetric {
            from: from as u32,
            to: to as u32,
            value: value.into(),
            other,
        }),
        (forth, back) => Ok(forth.or(back).unwrap_or(REMOTE_DISTANCE)),
    };
    (0..nodes.len()).map(|from| (0..nodes.len()).map(|to| entry(from, to)).collect()).collect()
}

fn check_distance(from: u32, to: u32, value: u32) -> Result<u8, TopologyError> {
    match u8::try_from(value) {
        Ok(LOCAL_DISTANCE) if from == to => Ok(LOCAL_DISTANCE),
        _ if from == to => Err(TopologyError::DistanceLocal { node: from, value }),
        Ok(distance) if (LOCAL_DISTANCE + 1..=MAX_DISTANCE).contains(&distance) => Ok(distance),
        _ => Err(TopologyError::DistanceRange { from, to, value }),
    }
}

#[cfg(test)]
mod tests;
