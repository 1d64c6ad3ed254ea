//! What machine this is: CPUs, nodes and distances, from ACPI and the `numa=` parameter.
//!
//! Owns: the CPU list (boot CPU first) and the topology. Stays outside: parsing of tables (`shared::acpi`) and
//! what the memory manager builds on it. Without ACPI there is one CPU on one node.

use crate::boot_info::BootInfo;
use crate::console;
use mm::addr::{NodeId, PhysAddr, align_down};
use mm::memblock::{Memblock, MemblockError};
use mm::phys::{LOCAL_DISTANCE, Topology};
use mm::port::CpuId;
use shared::acpi::{AcpiError, IoApic, PhysRead, Platform as Tables};
use shared::layout::DIRECT_MAP;
use shared::params::{self, NumaOption, Value};

/// CPUs that can be listed.
pub const MAX_CPUS: usize = crate::arch::percpu::MAX_CPUS;
/// Smallest node that `numa=fake=` makes (Linux `FAKE_NODE_MIN_SIZE`).
const FAKE_NODE_MIN: u64 = 32 << 20;

/// See the module documentation.
pub struct Platform {
    apic_ids: [u32; MAX_CPUS],
    cpu_count: usize,
    topology: Topology,
    tables: Option<Tables>,
}

struct BootMemory;

impl PhysRead for BootMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> bool {
        let end = addr.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > crate::arch::paging::BOOT_DIRECT_END) {
            return false;
        }
        // SAFETY: the boot tables show the first GiB; firmware memory does not change any more.
        unsafe {
            core::ptr::copy_nonoverlapping((DIRECT_MAP + addr) as *const u8, buf.as_mut_ptr(), buf.len());
        }
        true
    }
}

impl Platform {
    /// Reads the tables. The boot page tables are in use.
    pub fn detect(info: &BootInfo, boot_apic_id: u32) -> Self {
        let mut platform = Self {
            apic_ids: [boot_apic_id; MAX_CPUS],
            cpu_count: 1,
            topology: Topology::new(),
            tables: None,
        };
        match Tables::read(&BootMemory, info.rsdp()) {
            Ok(tables) => {
                for cpu in tables.madt.cpus.iter().filter(|cpu| cpu.apic_id != boot_apic_id) {
                    if let Some(slot) = platform.apic_ids.get_mut(platform.cpu_count) {
                        *slot = cpu.apic_id;
                        platform.cpu_count += 1;
                    }
                }
                platform.tables = Some(tables);
            }
            Err(error) => console::print(format_args!("ACPI: {error}; one CPU, one node\n")),
        }
        platform
    }

    /// APIC ids of the CPUs, by CPU number; the boot CPU is number 0.
    pub fn apic_ids(&self) -> &[u32] {
        self.apic_ids.get(..self.cpu_count).unwrap_or(&[])
    }

    /// The I/O APICs; none without ACPI.
    pub fn io_apics(&self) -> &[IoApic] {
        self.tables.as_ref().map_or(&[], |tables| &tables.madt.io_apics)
    }

    /// CPUs, nodes and distances.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Gives every range of RAM and every CPU its node.
    pub fn assign_nodes(&mut self, map: &mut Memblock, cmdline: &str) -> Result<(), MemblockError> {
        let option = match params::effective(cmdline, "numa") {
            Some(Value::Numa(option)) => option,
            _ => NumaOption::On,
        };
        let first = NodeId::default();
        map.set_node(PhysAddr::truncate(0), 1 << 52, first)?;
        for cpu in 0..self.cpu_count {
            let _ = self.topology.set_cpu_node(CpuId(cpu as u32), first);
        }
        match option {
            NumaOption::Off | NumaOption::NoAcpi => Ok(()),
            NumaOption::On => self.read_tables(map),
            NumaOption::FakeNodes(count) => self.fake(map, u64::from(count)),
            NumaOption::FakeSize(size) => {
                let size = align_down(size, FAKE_NODE_MIN).max(FAKE_NODE_MIN);
                self.fake(map, map.memory_size().div_ceil(size))
            }
            NumaOption::FakePerNode(count) => {
                let real =
                    self.tables.as_ref().and_then(|t| t.numa.as_ref().ok()).map_or(1, |n| n.domains.len());
                self.fake(map, u64::from(count) * real as u64)
            }
        }
    }

    fn read_tables(&mut self, map: &mut Memblock) -> Result<(), MemblockError> {
        let numa = match self.tables.as_ref().map(|tables| &tables.numa) {
            Some(Ok(numa)) => *numa,
            Some(Err(AcpiError::Missing { .. })) | None => return Ok(()),
            Some(Err(error)) => {
                console::print(format_args!("NUMA: {error}; one node\n"));
                return Ok(());
            }
        };
        for range in numa.memory.iter() {
            if let (Some(base), Some(node)) = (PhysAddr::new(range.base), NodeId::new(range.node.into())) {
                map.set_node(base, range.size, node)?;
            }
        }
        for (cpu, apic_id) in self.apic_ids.iter().take(self.cpu_count).enumerate() {
            if let Some(node) = numa.node_of_cpu(*apic_id).and_then(|node| NodeId::new(node.into())) {
                let _ = self.topology.set_cpu_node(CpuId(cpu as u32), node);
            }
        }
        if let Some(error) = numa.distance_error {
            console::print(format_args!("NUMA: {error}; default distances\n"));
        }
        let nodes = 0..numa.domains.len() as u8;
        for (from, to) in nodes.clone().flat_map(|from| nodes.clone().map(move |to| (from, to))) {
            let ids = (NodeId::new(from.into()), NodeId::new(to.into()));
            if let ((Some(a), Some(b)), Some(distance)) = (ids, numa.distance(from, to)) {
                self.topology.set_distance(a, b, distance);
            }
        }
        Ok(())
    }

    /// Splits RAM into `count` nodes of equal size, in order of address; CPUs go round the nodes.
    fn fake(&mut self, map: &mut Memblock, count: u64) -> Result<(), MemblockError> {
        let room = (map.memory_size() / FAKE_NODE_MIN).clamp(1, NodeId::MAX_NODES as u64);
        let nodes = count.clamp(1, room);
        if nodes < count {
            console::print(format_args!(
                "numa=fake: {nodes} nodes instead of {count}, 32 MiB is the smallest\n"
            ));
        }
        let share = align_down(map.memory_size() / nodes, 4 << 20);
        let regions = map.clone();
        let (mut node, mut left) = (0, share);
        for region in regions.memory() {
            let mut start = region.start;
            while start < region.end {
                let size = if node + 1 < nodes { left.min(region.end - start) } else { region.end - start };
                if let (Some(base), Some(id)) = (PhysAddr::new(start), NodeId::new(node as u32)) {
                    map.set_node(base, size, id)?;
                }
                start += size;
                left = left.saturating_sub(size);
                if left == 0 && node + 1 < nodes {
                    (node, left) = (node + 1, share);
                }
            }
        }
        for cpu in 0..self.cpu_count {
            if let Some(id) = NodeId::new((cpu as u64 % nodes) as u32) {
                let _ = self.topology.set_cpu_node(CpuId(cpu as u32), id);
            }
        }
        debug_assert_eq!(self.topology.distance(NodeId::default(), NodeId::default()), LOCAL_DISTANCE);
        Ok(())
    }
}
