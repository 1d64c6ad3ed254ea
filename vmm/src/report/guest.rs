//! The guest's own numbers in a report: those of its `/proc` texts.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::stats::{MAX_CPUS, ZoneGroup};
use shared::text::meminfo::Meminfo;
use shared::text::names::ZONE_STATS;

use crate::view::snapshot::Snapshot;

/// What the guest said of itself at its end.
#[derive(Debug, Serialize)]
pub struct GuestReport {
    ring: u64,
    cpus: u64,
    nodes: u64,
    uptime_ns: u64,
    cpu_times: Vec<CpuReport>,
    events: BTreeMap<&'static str, u64>,
    meminfo: BTreeMap<&'static str, u64>,
    vmstat: BTreeMap<&'static str, u64>,
    zones: Vec<ZoneReport>,
}

#[derive(Debug, Serialize)]
struct CpuReport {
    system_ns: u64,
    idle_ns: u64,
}

#[derive(Debug, Serialize)]
struct ZoneReport {
    node: u32,
    zone: &'static str,
    free: u64,
    min: u64,
    low: u64,
    high: u64,
    spanned: u64,
    present: u64,
    managed: u64,
    start_pfn: u64,
    free_blocks: Vec<u64>,
    stats: BTreeMap<&'static str, u64>,
}

impl GuestReport {
    /// The report of a reading.
    pub fn new(snapshot: &Snapshot) -> Self {
        let Snapshot { machine, traps, tasks, .. } = snapshot;
        let cpus = usize::try_from(machine.cpus).unwrap_or(MAX_CPUS);
        let meminfo = snapshot.meminfo.numbers();
        let mut lines: BTreeMap<_, _> = Meminfo::names().iter().copied().zip(meminfo.values()).collect();
        lines.extend(meminfo.direct_map_1g.map(|value| ("DirectMap1G", value)));
        let events = [
            ("irq", traps.irq),
            ("timer", traps.timer),
            ("ipi", traps.ipi),
            ("page_faults", traps.page_faults),
            ("exceptions", traps.exceptions),
            ("gates", traps.gates),
            ("switches", tasks.switches),
            ("tasks_started", tasks.started),
        ];
        Self {
            ring: machine.ring,
            cpus: machine.cpus,
            nodes: machine.nodes,
            uptime_ns: tasks.uptime_ns,
            cpu_times: tasks
                .cpus
                .iter()
                .take(cpus)
                .map(|times| CpuReport { system_ns: times.system_ns, idle_ns: times.idle_ns })
                .collect(),
            events: events.into(),
            meminfo: lines,
            vmstat: snapshot.vmstat.numbers().iter().collect(),
            zones: snapshot.zones.iter().filter(|zone| zone.populated != 0).map(zone).collect(),
        }
    }
}

fn zone(zone: &ZoneGroup) -> ZoneReport {
    let [free, _, min, low, high, _, spanned, present, managed, _] = zone.pages;
    ZoneReport {
        node: zone.node(),
        zone: zone.name(),
        free,
        min,
        low,
        high,
        spanned,
        present,
        managed,
        start_pfn: zone.start_pfn,
        free_blocks: zone.blocks.into(),
        stats: ZONE_STATS.into_iter().zip(zone.stats).collect(),
    }
}
