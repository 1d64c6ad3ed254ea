//! NUMA nodes: proximity domains made dense, with their CPUs, memory and distances.
//!
//! Owns: the numbering of nodes, and the defaults for what the tables leave out.
//! Invariants: node ids are 0.. in the order of their proximity domains; every listed CPU and range belongs
//! to a listed node; memory of two nodes never overlaps.
//! Source: ACPI 6.4, sections 5.2.16 and 5.2.17; Linux `drivers/acpi/numa/srat.c`.

use super::error::AcpiError;
use super::list::List;
use super::slit::Distances;
use super::srat::{self, Affinity, Entry};
use super::table::Table;
use super::{MAX_CPUS, MAX_MEMORY_RANGES, MAX_NODES, PhysRead};
use crate::numa::{LOCAL_DISTANCE, REMOTE_DISTANCE};

/// The node of a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuAffinity {
    /// The CPU's APIC id.
    pub apic_id: u32,
    /// Its node.
    pub node: u8,
}

/// The node of a memory range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryAffinity {
    /// First physical address.
    pub base: u64,
    /// Size in bytes; not 0, and the end is at most 2^64 - 1.
    pub size: u64,
    /// The range's node.
    pub node: u8,
    /// Room for memory that may be plugged in; not necessarily RAM now.
    pub hot_pluggable: bool,
    /// Memory that keeps its contents without power.
    pub non_volatile: bool,
}

impl MemoryAffinity {
    /// First physical address after the range.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.size)
    }
}

/// The machine's nodes.
#[derive(Clone, Copy, Debug)]
pub struct Numa {
    /// The proximity domain of each node, ascending; the position is the node id.
    pub domains: List<u32, MAX_NODES>,
    /// CPUs by node, in the table's order; no two have one APIC id.
    pub cpus: List<CpuAffinity, MAX_CPUS>,
    /// Memory by node, in the table's order.
    pub memory: List<MemoryAffinity, MAX_MEMORY_RANGES>,
    distances: [[u8; MAX_NODES]; MAX_NODES],
    /// Why the distances are the defaults, if they are.
    pub distance_error: Option<AcpiError>,
    /// Rows that made no sense or that a list has no room for.
    pub skipped_rows: u32,
}

impl Numa {
    /// Reads an SRAT and, where there is one, a SLIT.
    pub(super) fn read<M: PhysRead>(
        srat: &Table<'_, M>,
        slit: Result<Table<'_, M>, AcpiError>,
    ) -> Result<Self, AcpiError> {
        let domains = domains(srat)?;
        let mut numa = Self {
            domains,
            cpus: List::new(),
            memory: List::new(),
            distances: default_distances(),
            distance_error: None,
            skipped_rows: 0,
        };
        for entry in srat::entries(srat)? {
            let used = match entry? {
                Entry::Member { domain, affinity } => numa.add(domain, &affinity)?,
                Entry::Nothing => true,
                Entry::Bad => false,
            };
            numa.skipped_rows += u32::from(!used);
        }
        match slit.and_then(|slit| numa.matrix(&slit)) {
            Ok(distances) => numa.distances = distances,
            Err(error) => numa.distance_error = Some(error),
        }
        Ok(numa)
    }

    /// The node of the CPU with this APIC id.
    #[must_use]
    pub fn node_of_cpu(&self, apic_id: u32) -> Option<u8> {
        self.cpus.iter().find(|cpu| cpu.apic_id == apic_id).map(|cpu| cpu.node)
    }

    /// The distance between two nodes, 10 for a node and itself; `None` when there is no such node.
    #[must_use]
    pub fn distance(&self, from: u8, to: u8) -> Option<u8> {
        let (from, to) = (usize::from(from), usize::from(to));
        if from >= self.domains.len() || to >= self.domains.len() {
            return None;
        }
        self.distances.get(from)?.get(to).copied()
    }

    /// Adds a member to its node; false when it is left out.
    fn add(&mut self, domain: u32, affinity: &Affinity) -> Result<bool, AcpiError> {
        let Some(node) = self.node(domain) else { return Ok(false) };
        match *affinity {
            Affinity::Cpu { apic_id } => {
                let known = self.node_of_cpu(apic_id).is_some();
                Ok(!known && self.cpus.push(CpuAffinity { apic_id, node }))
            }
            Affinity::Memory { base, size, hot_pluggable, non_volatile } => {
                let range = MemoryAffinity { base, size, node, hot_pluggable, non_volatile };
                self.check_overlap(&range)?;
                Ok(self.memory.push(range))
            }
        }
    }

    fn node(&self, domain: u32) -> Option<u8> {
        u8::try_from(self.domains.iter().position(|&known| known == domain)?).ok()
    }

    /// Memory in two nodes has no right place: nothing of such a table can be trusted.
    fn check_overlap(&self, range: &MemoryAffinity) -> Result<(), AcpiError> {
        let overlaps = |other: &&MemoryAffinity| {
            other.node != range.node && other.base < range.end() && range.base < other.end()
        };
        match self.memory.iter().find(overlaps) {
            Some(other) => Err(AcpiError::Overlap { first: other.base, second: range.base }),
            None => Ok(()),
        }
    }

    fn matrix<M: PhysRead>(&self, slit: &Table<'_, M>) -> Result<[[u8; MAX_NODES]; MAX_NODES], AcpiError> {
        let table = Distances::read(slit)?;
        let mut distances = default_distances();
        for (&from, row) in self.domains.iter().zip(&mut distances) {
            for (&to, distance) in self.domains.iter().zip(row) {
                if let Some(value) = table.between(from, to)? {
                    *distance = value;
                }
            }
        }
        Ok(distances)
    }
}

/// The proximity domains that have members, ascending. The first [`MAX_NODES`] to appear get in.
fn domains<M: PhysRead>(srat: &Table<'_, M>) -> Result<List<u32, MAX_NODES>, AcpiError> {
    let mut domains = List::new();
    for entry in srat::entries(srat)? {
        if let Entry::Member { domain, .. } = entry?
            && !domains.contains(&domain)
            && !domains.push(domain)
        {
            break;
        }
    }
    domains.sort_unstable();
    Ok(domains)
}

fn default_distances() -> [[u8; MAX_NODES]; MAX_NODES] {
    let mut distances = [[REMOTE_DISTANCE; MAX_NODES]; MAX_NODES];
    for (node, row) in distances.iter_mut().enumerate() {
        if let Some(own) = row.get_mut(node) {
            *own = LOCAL_DISTANCE;
        }
    }
    distances
}
