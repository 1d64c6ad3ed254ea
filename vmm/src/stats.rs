//! What the host counted about a machine, for `--stats`: a second witness beside the guest's own
//! counters.
//!
//! Owns: collecting KVM's counters, those of the disks and the memory of this process. Stays outside:
//! printing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use crate::devices::virtio::blk::{BlkCounters, RequestKind};
use crate::kvm::exits::ExitCounters;
use crate::kvm::stats::KvmStats;
use crate::machine::Machine;

/// The counters of one machine.
pub struct MachineStats {
    vm: KvmStats,
    vcpus: Vec<KvmStats>,
    disks: Vec<(String, Arc<BlkCounters>)>,
    exits: Arc<ExitCounters>,
    /// Host addresses of guest RAM.
    ram: Vec<Range<u64>>,
    /// `/proc/self/smaps`, read when it is asked for but open since before the machine ran: a thread that has
    /// served a guest can open nothing.
    smaps: File,
}

impl MachineStats {
    /// Opens the counters of `machine`, before it runs. Fails on kernels before 5.14.
    pub fn open(machine: &Machine) -> io::Result<Self> {
        let vcpus = machine.vcpus.iter().map(|vcpu| KvmStats::open(vcpu.fd()));
        let ram =
            machine.ram.iter().map(|region| region.host_address()..region.host_address() + region.len());
        Ok(Self {
            vm: KvmStats::open(machine.vm.fd())?,
            vcpus: vcpus.collect::<io::Result<_>>()?,
            disks: machine.disks.clone(),
            exits: Arc::clone(&machine.exits),
            ram: ram.collect(),
            smaps: File::open("/proc/self/smaps")?,
        })
    }

    /// Every counter with its name.
    pub fn counters(&self) -> io::Result<Vec<(String, u64)>> {
        let memory = self.host_memory()?.into_iter();
        Ok(memory.chain(self.disk_totals()).chain(self.exits()).chain(self.kvm()?).collect())
    }

    /// Exits to this process, over all vCPUs.
    fn exits(&self) -> impl Iterator<Item = (String, u64)> {
        self.exits.totals().map(|(name, value)| (format!("exits.{name}"), value))
    }

    /// Resident memory in KiB: guest RAM, the part of it in huge pages, and everything else.
    fn host_memory(&self) -> io::Result<Vec<(String, u64)>> {
        let usage = memory_usage(&io::read_to_string(&self.smaps)?, &self.ram);
        let named = [("ram", usage.ram), ("ram_huge", usage.ram_huge), ("vmm", usage.other)];
        Ok(named.map(|(name, kib)| (format!("host.{name}_kb"), kib)).into())
    }

    fn disk_totals(&self) -> Vec<(String, u64)> {
        let mut named = Vec::new();
        for (id, counters) in &self.disks {
            let totals = counters.totals();
            let counts = [
                ("reads", totals.reads),
                ("read_bytes", totals.read_bytes),
                ("writes", totals.writes),
                ("write_bytes", totals.write_bytes),
                ("flushes", totals.flushes),
                ("discards", totals.discards),
                ("discard_bytes", totals.discard_bytes),
                ("write_zeroes", totals.write_zeroes),
                ("write_zeroes_bytes", totals.write_zeroes_bytes),
                ("errors", totals.errors),
            ];
            named.extend(counts.map(|(what, value)| (format!("disk.{id}.{what}"), value)));
            for kind in RequestKind::ALL.into_iter().filter(|&kind| counters.done(kind).0 > 0) {
                for (quantile, permille) in [("p50", 500), ("p99", 990)] {
                    let time = counters.latencies(kind).quantile(permille).as_nanos();
                    let name = format!("disk.{id}.{}_{quantile}_ns", kind.name());
                    named.push((name, time.try_into().unwrap_or(u64::MAX)));
                }
            }
        }
        named
    }

    /// KVM's counters by name; those of vCPUs are summed up.
    fn kvm(&self) -> io::Result<BTreeMap<String, u64>> {
        let mut sums = BTreeMap::new();
        for stats in &self.vcpus {
            for (name, value) in stats.read()? {
                let sum: &mut u64 = sums.entry(format!("kvm.vcpu.{name}")).or_default();
                *sum = sum.wrapping_add(value);
            }
        }
        sums.extend(self.vm.read()?.into_iter().map(|(name, value)| (format!("kvm.vm.{name}"), value)));
        Ok(sums)
    }
}

/// Resident memory in KiB.
#[derive(Debug, Default, PartialEq, Eq)]
struct MemoryUsage {
    ram: u64,
    ram_huge: u64,
    other: u64,
}

/// Sums up `smaps`, the text of `/proc/self/smaps`; mappings inside `ram` are the guest's.
fn memory_usage(smaps: &str, ram: &[Range<u64>]) -> MemoryUsage {
    let mut usage = MemoryUsage::default();
    let mut in_ram = false;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(first), second) = (words.next(), words.next()) else { continue };
        let kib = second.and_then(|word| word.parse().ok()).unwrap_or(0);
        match first {
            "Rss:" if in_ram => usage.ram += kib,
            "Rss:" => usage.other += kib,
            // Pages of the hugetlb pool are not part of Rss.
            "Private_Hugetlb:" if in_ram => {
                (usage.ram, usage.ram_huge) = (usage.ram + kib, usage.ram_huge + kib)
            }
            "AnonHugePages:" if in_ram => usage.ram_huge += kib,
            _ => {
                let start = first.split_once('-').and_then(|(start, _)| u64::from_str_radix(start, 16).ok());
                if let Some(start) = start {
                    in_ram = ram.iter().any(|range| range.contains(&start));
                }
            }
        }
    }
    usage
}

#[cfg(test)]
mod tests;
