//! `/sys/devices/system/node`: the nodes, their CPUs, memory and distances.
//!
//! Format: Linux `drivers/base/node.c`.

use super::kb;
use crate::arch::smp;
use crate::memory::slab::SLABS;
use crate::memory::vm::STAT;
use crate::memory::{PHYS, hugetlb, stack, tables};
use core::fmt::{self, Write};
use mm::addr::NodeId;
use mm::phys::{Event, Node};
use mm::vmstat::NodeStat;

/// Writes one text about a node.
pub type Render = fn(&Node, &mut dyn Write) -> fmt::Result;

const ROOT: &str = "/sys/devices/system/node/node";
const FILES: &[(&str, Render)] =
    &[("cpulist", cpulist), ("distance", distance), ("meminfo", meminfo), ("numastat", numastat)];

/// The lines of a node's meminfo between its size and those about its kernel memory.
const MIDDLE: &[&str] = &[
    "SwapCached",
    "Active",
    "Inactive",
    "Active(anon)",
    "Inactive(anon)",
    "Active(file)",
    "Inactive(file)",
    "Unevictable",
    "Mlocked",
    "Dirty",
    "Writeback",
    "FilePages",
    "Mapped",
    "AnonPages",
    "Shmem",
];
/// Those after.
const LATER: &[&str] = &[
    "SecPageTables",
    "NFS_Unstable",
    "Bounce",
    "WritebackTmp",
    "KReclaimable",
    "Slab",
    "SReclaimable",
    "SUnreclaim",
    "AnonHugePages",
    "ShmemHugePages",
    "ShmemPmdMapped",
    "FileHugePages",
    "FilePmdMapped",
];
/// The counters of numastat, and what they count.
const NUMA_STATS: &[(&str, Event)] = &[
    ("numa_hit", Event::NumaHit),
    ("numa_miss", Event::NumaMiss),
    ("numa_foreign", Event::NumaForeign),
    ("interleave_hit", Event::NumaInterleave),
    ("local_node", Event::NumaLocal),
    ("other_node", Event::NumaOther),
];

/// The file of a node at `path`.
pub fn find(path: &str) -> Option<(Render, &'static Node)> {
    let (number, name) = path.strip_prefix(ROOT)?.split_once('/')?;
    let node = PHYS.node(NodeId::new(number.parse().ok()?)?)?;
    FILES.iter().find(|(known, _)| *known == name).map(|(_, render)| (*render, node))
}

/// Passes every path to `visit`.
pub fn paths(visit: &mut dyn FnMut(fmt::Arguments<'_>)) {
    for node in PHYS.nodes() {
        for (name, _) in FILES {
            visit(format_args!("{ROOT}{}/{name}", node.id().index()));
        }
    }
}

/// Writes numbers as Linux writes lists: neighbours joined (`0-2,5`).
fn list(w: &mut dyn Write, numbers: impl Iterator<Item = u32>) -> fmt::Result {
    let mut run: Option<(u32, u32)> = None;
    let mut comma = "";
    let mut flush = |w: &mut dyn Write, (first, last): (u32, u32)| {
        write!(w, "{}{first}", core::mem::replace(&mut comma, ","))?;
        if first == last { Ok(()) } else { write!(w, "-{last}") }
    };
    for number in numbers {
        run = match run {
            Some((first, last)) if last + 1 == number => Some((first, number)),
            Some(done) => {
                flush(w, done)?;
                Some((number, number))
            }
            None => Some((number, number)),
        };
    }
    if let Some(done) = run {
        flush(w, done)?;
    }
    w.write_char('\n')
}

/// Writes the list of nodes.
pub fn online(w: &mut dyn Write) -> fmt::Result {
    list(w, PHYS.nodes().map(|node| node.id().index() as u32))
}

/// The CPUs of a node that run, by number.
pub fn cpus(node: NodeId) -> impl Iterator<Item = u32> {
    let topology = PHYS.topology();
    let all = topology.into_iter().flat_map(move |topology| topology.cpus_of(node));
    all.map(|cpu| cpu.0).filter(|cpu| *cpu < smp::online())
}

fn cpulist(node: &Node, w: &mut dyn Write) -> fmt::Result {
    list(w, cpus(node.id()))
}

fn distance(node: &Node, w: &mut dyn Write) -> fmt::Result {
    let Some(topology) = PHYS.topology() else { return Ok(()) };
    for (n, other) in PHYS.nodes().enumerate() {
        write!(w, "{}{}", if n == 0 { "" } else { " " }, topology.distance(node.id(), other.id()))?;
    }
    w.write_char('\n')
}

fn meminfo(node: &Node, w: &mut dyn Write) -> fmt::Result {
    let number = node.id().index();
    let mut line = |name: &str, kbytes: u64| {
        let colon = 15usize.saturating_sub(name.len());
        writeln!(w, "Node {number} {name}:{:colon$}{kbytes:>8} kB", "")
    };
    let (total, free) = (node.managed_pages(), node.free_pages());
    line("MemTotal", kb(total))?;
    line("MemFree", kb(free))?;
    line("MemUsed", kb(total.saturating_sub(free)))?;
    let stat = |stat| STAT.on_node(node.id(), stat);
    for name in MIDDLE {
        let pages = match *name {
            "Active" => stat(NodeStat::ActiveAnon) + stat(NodeStat::ActiveFile),
            "Inactive" => stat(NodeStat::InactiveAnon) + stat(NodeStat::InactiveFile),
            "Active(anon)" => stat(NodeStat::ActiveAnon),
            "Inactive(anon)" => stat(NodeStat::InactiveAnon),
            "Active(file)" => stat(NodeStat::ActiveFile),
            "Inactive(file)" => stat(NodeStat::InactiveFile),
            "Unevictable" => stat(NodeStat::Unevictable),
            "Mlocked" => stat(NodeStat::Mlocked),
            "Dirty" => stat(NodeStat::Dirty),
            "Writeback" => stat(NodeStat::Writeback),
            "FilePages" => stat(NodeStat::FilePages),
            "Mapped" => stat(NodeStat::FileMapped),
            "AnonPages" => stat(NodeStat::AnonMapped),
            "Shmem" => stat(NodeStat::Shmem),
            _ => 0,
        };
        line(name, kb(pages))?;
    }
    line("KernelStack", kb(stack::pages_in_use_on(node.id())))?;
    line("PageTables", kb(tables::in_use_on(node.id()) + stat(NodeStat::PageTables)))?;
    let slabs = SLABS.totals(Some(node.id()));
    let unreclaimable = slabs.unreclaimable + slabs.large;
    for name in LATER {
        let pages = match *name {
            "KReclaimable" | "SReclaimable" => slabs.reclaimable,
            "SUnreclaim" => unreclaimable,
            "Slab" => slabs.reclaimable + unreclaimable,
            "AnonHugePages" => stat(NodeStat::AnonThps),
            _ => 0,
        };
        line(name, kb(pages))?;
    }
    let huge = hugetlb::default_pool().counts(Some(node.id()));
    let counts = [("Total", huge.total), ("Free", huge.free), ("Surp", 0)];
    counts.into_iter().try_for_each(|(name, pages)| writeln!(w, "Node {number} HugePages_{name}: {pages:>5}"))
}

fn numastat(node: &Node, w: &mut dyn Write) -> fmt::Result {
    NUMA_STATS.iter().try_for_each(|(name, event)| {
        let sum: u64 = node.zones().map(|zone| PHYS.events(zone, *event)).sum();
        writeln!(w, "{name} {sum}")
    })
}
