//! `/proc/zoneinfo`: every zone of every node, those without memory included.

use super::vmstat::{node_stats, numa_events, zone_stats};
use crate::arch::percpu::MAX_CPUS;
use crate::memory::PHYS;
use core::fmt::{self, Write};
use mm::frame::ZoneKind;
use mm::phys::{Node, Zone};
use shared::text::names::NODE_STATS;
use shared::text::zoneinfo::{self, Pageset, Populated, write_zone};

/// Writes `/proc/zoneinfo`.
pub fn zoneinfo(w: &mut dyn Write) -> fmt::Result {
    for_each(&mut |_, numbers| write_zone(w, numbers))
}

/// Passes every zone with its numbers to `visit`, in the order of the text.
///
/// # Errors
/// The first one of `visit`.
pub fn for_each(visit: &mut dyn FnMut(&Zone, &zoneinfo::Zone<'_>) -> fmt::Result) -> fmt::Result {
    for node in PHYS.nodes() {
        let stats = node_stats(node);
        let first = node.zones().find(|zone| zone.is_populated()).map(|zone| zone.id());
        for zone in node.zones() {
            let stats = (first == Some(zone.id())).then_some(&stats);
            with_numbers(node, zone, stats, visit)?;
        }
    }
    Ok(())
}

/// What each CPU keeps of a zone, and of how many CPUs that is.
fn pagesets(zone: &Zone) -> ([Pageset; MAX_CPUS], usize) {
    const NONE: Pageset =
        Pageset { cpu: 0, count: 0, high: 0, batch: 0, high_min: 0, high_max: 0, stat_threshold: 0 };
    let mut sets = [NONE; MAX_CPUS];
    let mut len = 0;
    for (slot, set) in sets.iter_mut().zip(PHYS.pagesets(zone)) {
        *slot = Pageset {
            cpu: set.cpu.0,
            count: set.count.into(),
            high: set.high.into(),
            batch: set.batch.into(),
            high_min: set.high_min.into(),
            high_max: set.high_max.into(),
            stat_threshold: PHYS.stat_threshold(zone).into(),
        };
        len += 1;
    }
    (sets, len)
}

fn with_numbers(
    node: &Node,
    zone: &Zone,
    node_stats: Option<&[u64; NODE_STATS.len()]>,
    visit: &mut dyn FnMut(&Zone, &zoneinfo::Zone<'_>) -> fmt::Result,
) -> fmt::Result {
    let (sets, len) = pagesets(zone);
    let marks = zone.watermarks();
    visit(
        zone,
        &zoneinfo::Zone {
            node: node.id().index() as u32,
            name: zone.id().kind.name(),
            node_stats,
            free: zone.free_pages(),
            boost: zone.watermark_boost(),
            min: marks.min,
            low: marks.low,
            high: marks.high,
            promo: marks.promo,
            spanned: zone.spanned_pages(),
            present: zone.present_pages(),
            managed: zone.managed_pages(),
            cma: 0,
            protection: &ZoneKind::ALL.map(|highest| zone.lowmem_reserve(highest)),
            populated: zone.is_populated().then(|| Populated {
                stats: zone_stats(zone),
                numa: numa_events(zone),
                pagesets: sets.get(..len).unwrap_or_default(),
                node_unreclaimable: 0,
                start_pfn: zone.start_pfn().get(),
            }),
        },
    )
}
