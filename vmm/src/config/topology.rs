//! vCPUs, NUMA nodes and the distances between them.
//!
//! Owns: the rules a topology must obey, and the defaults. Stays outside: where node memory lies
//! (`memory::layout`), how the guest is told (`acpi`).
//! Invariants of a [`Topology`]: nodes are numbered from 0 without gaps; every vCPU belongs to one
//! node; RAM is at least 16 MiB; distances are symmetric, 10 from a node to itself and 11 to 254
//! elsewhere (`shared::numa`).

use shared::acpi::MAX_NODES;
use shared::layout::MIN_MEM;
use shared::numa::{DistanceError, LOCAL_DISTANCE, MAX_DISTANCE, REMOTE_DISTANCE, check_distances};

use super::numa::NodeSpec;
use super::size::SizeText;
use crate::memory::layout::RAM_GRANULE;

/// Most vCPUs of a machine: as many as a guest lists.
pub const MAX_CPUS: u32 = shared::acpi::MAX_CPUS as u32;
/// Largest RAM, in bytes.
pub const MAX_MEM: u64 = 256 << 30;

/// vCPUs when nothing else is said.
const DEFAULT_CPUS: u32 = 2;
/// RAM when nothing else is said, in bytes.
const DEFAULT_MEM: u64 = 512 << 20;
/// Nodes when neither vCPUs nor memory nor nodes are given.
const DEFAULT_NODES: u32 = 2;

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
    #[error("invalid SLIT entry: distance of node {from} to node {to} is {value}, but there is no node {to}")]
    DistanceNode {
        /// Node the distance starts at.
        from: u32,
        /// Node it leads to.
        to: u32,
        /// The distance.
        value: u8,
    },
    /// The distances are not those of one machine.
    #[error(transparent)]
    Distances(#[from] DistanceError),
}

/// A checked topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Bytes of RAM per node.
    nodes: Vec<u64>,
    /// Node per vCPU.
    cpu_nodes: Vec<u32>,
    /// Distances, row by row.
    distances: Vec<u8>,
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

    /// The distance between two nodes; the largest one when there is no such node.
    pub fn distance(&self, from: usize, to: usize) -> u8 {
        let known = from < self.nodes.len() && to < self.nodes.len();
        let entry = self.distances.get(from * self.nodes.len() + to);
        entry.copied().filter(|_| known).unwrap_or(MAX_DISTANCE)
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

/// The matrix, row by row. A distance given one way only counts both ways. A node that names itself means all nodes
/// that nothing else is said of, unless it states the obvious, that it is 10 from itself.
fn distances(nodes: &[NodeSpec]) -> Result<Vec<u8>, TopologyError> {
    let count = nodes.len();
    let mut given = vec![None; count * count];
    for node in nodes {
        for &(to, value) in &node.distances {
            let from = node.id;
            let entry = given.get_mut(from as usize * count + to as usize).filter(|_| (to as usize) < count);
            *entry.ok_or(TopologyError::DistanceNode { from, to, value })? = Some(value);
        }
    }
    let at = |from: usize, to: usize| given.get(from * count + to).copied().flatten();
    let to_all = |node: usize| at(node, node).filter(|&distance| distance != LOCAL_DISTANCE);
    let entry = |from: usize, to: usize| match from == to {
        true => LOCAL_DISTANCE,
        false => {
            let between = at(from, to).or(at(to, from));
            between.or(to_all(from)).or(to_all(to)).unwrap_or(REMOTE_DISTANCE)
        }
    };
    let matrix: Vec<u8> = (0..count)
        .flat_map(|from| (0..count).map(move |to| (from, to)))
        .map(|(from, to)| entry(from, to))
        .collect();
    check_distances(count, &matrix)?;
    Ok(matrix)
}

#[cfg(test)]
mod tests;
