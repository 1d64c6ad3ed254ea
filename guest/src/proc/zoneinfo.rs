//! `/proc/zoneinfo`: every zone of every node, those without memory included.

use super::vmstat::{node_stats, zone_stats};
use crate::arch::percpu::MAX_CPUS;
use crate::arch::smp;
use crate::memory::PHYS;
use core::fmt::{self, Write};
use mm::frame::ZoneKind;
use mm::phys::{Node, Zone};
use shared::text::names::{NODE_STATS, NUMA_EVENTS};
use shared::text::zoneinfo::{self, Pageset, Populated, write_zone};

/// Writes `/proc/zoneinfo`.
pub fn zoneinfo(w: &mut dyn Write) -> fmt::Result {
    let pagesets: [Pageset; MAX_CPUS] = core::array::from_fn(|cpu| Pageset {
        cpu: cpu as u32,
        count: 0,
        high: 0,
        batch: 0,
        high_min: 0,
        high_max: 0,
        stat_threshold: 0,
    });
    let online = pagesets.get(..smp::online() as usize).unwrap_or(&pagesets);
    for node in PHYS.nodes() {
        let stats = node_stats(node);
        let first = node.zones().find(|zone| zone.is_populated()).map(|zone| zone.id());
        for zone in node.zones() {
            let stats = (first == Some(zone.id())).then_some(&stats);
            write(w, node, zone, stats, online)?;
        }
    }
    Ok(())
}

fn write(
    w: &mut dyn Write,
    node: &Node,
    zone: &Zone,
    node_stats: Option<&[u64; NODE_STATS.len()]>,
    pagesets: &[Pageset],
) -> fmt::Result {
    write_zone(
        w,
        &zoneinfo::Zone {
            node: node.id().index() as u32,
            name: zone.id().kind.name(),
            node_stats,
            free: zone.free_pages(),
            boost: 0,
            min: 0,
            low: 0,
            high: 0,
            promo: 0,
            spanned: zone.spanned_pages(),
            present: zone.present_pages(),
            managed: zone.managed_pages(),
            cma: 0,
            protection: &[0; ZoneKind::COUNT],
            populated: zone.is_populated().then(|| Populated {
                stats: zone_stats(zone),
                numa: [0; NUMA_EVENTS.len()],
                pagesets,
                node_unreclaimable: 0,
                start_pfn: zone.start_pfn().get(),
            }),
        },
    )
}
