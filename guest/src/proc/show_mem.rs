//! Where memory is, as Linux says it when memory is out (`mm/show_mem.c`, 6.18).

use super::vmstat::{NodeStats, ZoneStats, node_stats, zone_stats};
use super::{kb, meminfo, place};
use crate::memory::PHYS;
use core::fmt::{self, Write};
use mm::addr::Order;
use mm::frame::{MigrateType, ZoneKind};
use mm::phys::Zone;
use shared::text::names::{NODE_STATS, ZONE_STATS};

/// A label, and the place of its counter.
type Column = (&'static str, usize);

const fn of_node(label: &'static str, name: &str) -> Column {
    (label, place(&NODE_STATS, name))
}

const fn of_zone(label: &'static str, name: &str) -> Column {
    (label, place(&ZONE_STATS, name))
}

const TOTALS: [Column; 15] = [
    of_node("active_anon", "nr_active_anon"),
    of_node(" inactive_anon", "nr_inactive_anon"),
    of_node(" isolated_anon", "nr_isolated_anon"),
    of_node("\n active_file", "nr_active_file"),
    of_node(" inactive_file", "nr_inactive_file"),
    of_node(" isolated_file", "nr_isolated_file"),
    of_node("\n unevictable", "nr_unevictable"),
    of_node(" dirty", "nr_dirty"),
    of_node(" writeback", "nr_writeback"),
    of_node("\n slab_reclaimable", "nr_slab_reclaimable"),
    of_node(" slab_unreclaimable", "nr_slab_unreclaimable"),
    of_node("\n mapped", "nr_mapped"),
    of_node(" shmem", "nr_shmem"),
    of_node(" pagetables", "nr_page_table_pages"),
    of_node("\n kernel_misc_reclaimable", "nr_kernel_misc_reclaimable"),
];

/// These count pages.
const BY_NODE: [Column; 11] = [
    of_node("active_anon", "nr_active_anon"),
    of_node("inactive_anon", "nr_inactive_anon"),
    of_node("active_file", "nr_active_file"),
    of_node("inactive_file", "nr_inactive_file"),
    of_node("unevictable", "nr_unevictable"),
    of_node("isolated(anon)", "nr_isolated_anon"),
    of_node("isolated(file)", "nr_isolated_file"),
    of_node("mapped", "nr_mapped"),
    of_node("dirty", "nr_dirty"),
    of_node("writeback", "nr_writeback"),
    of_node("shmem", "nr_shmem"),
];
const ANON_THPS: usize = place(&NODE_STATS, "nr_anon_transparent_hugepages");
const PAGE_TABLES: usize = place(&NODE_STATS, "nr_page_table_pages");

const BY_ZONE: [Column; 6] = [
    of_zone("active_anon", "nr_zone_active_anon"),
    of_zone("inactive_anon", "nr_zone_inactive_anon"),
    of_zone("active_file", "nr_zone_active_file"),
    of_zone("inactive_file", "nr_zone_inactive_file"),
    of_zone("unevictable", "nr_zone_unevictable"),
    of_zone("writepending", "nr_zone_write_pending"),
];

/// Writes it.
///
/// # Errors
/// Those of the writer.
pub fn show_mem(w: &mut dyn Write) -> fmt::Result {
    w.write_str("Mem-Info:\n")?;
    totals(w)?;
    for node in PHYS.nodes() {
        let stats = node_stats(node);
        write!(w, "Node {}", node.id().index())?;
        for (label, at) in BY_NODE {
            write!(w, " {label}:{}kB", kb(stats[at]))?;
        }
        let huge = stats[ANON_THPS] * Order::PAGEBLOCK.pages();
        writeln!(w, " anon_thp:{}kB pagetables:{}kB", kb(huge), kb(stats[PAGE_TABLES]))?;
    }
    PHYS.populated_zones().try_for_each(|zone| marks(w, zone, &zone_stats(zone)))?;
    PHYS.populated_zones().try_for_each(|zone| blocks(w, zone))?;
    rest(w)
}

fn sum(mut all: NodeStats, more: &NodeStats) -> NodeStats {
    all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
    all
}

fn totals(w: &mut dyn Write) -> fmt::Result {
    let stats = PHYS.nodes().fold([0; NODE_STATS.len()], |all, node| sum(all, &node_stats(node)));
    for (label, at) in TOTALS {
        write!(w, "{label}:{}", stats[at])?;
    }
    let cached: u64 = PHYS.populated_zones().map(cached).sum();
    writeln!(w, "\n free:{} free_pcp:{cached} free_cma:0", PHYS.total_free_pages())
}

/// Pages on the lists of CPUs.
fn cached(zone: &Zone) -> u64 {
    PHYS.pagesets(zone).map(|set| u64::from(set.count)).sum()
}

fn marks(w: &mut dyn Write, zone: &Zone, stats: &ZoneStats) -> fmt::Result {
    let marks = zone.watermarks();
    write!(
        w,
        "Node {} {} free:{}kB boost:{}kB min:{}kB low:{}kB high:{}kB",
        zone.id().node.index(),
        zone.id().kind.name(),
        kb(zone.free_pages()),
        kb(zone.watermark_boost()),
        kb(marks.min),
        kb(marks.low),
        kb(marks.high)
    )?;
    for (label, at) in BY_ZONE {
        write!(w, " {label}:{}kB", kb(stats[at]))?;
    }
    let (present, managed) = (kb(zone.present_pages()), kb(zone.managed_pages()));
    write!(w, " present:{present}kB managed:{managed}kB free_pcp:{}kB\nlowmem_reserve[]:", kb(cached(zone)))?;
    ZoneKind::ALL.iter().try_for_each(|highest| write!(w, " {}", zone.lowmem_reserve(*highest)))?;
    w.write_char('\n')
}

/// Free blocks of a zone, with the types of those there are of each order.
fn blocks(w: &mut dyn Write, zone: &Zone) -> fmt::Result {
    write!(w, "Node {} {}: ", zone.id().node.index(), zone.id().kind.name())?;
    let mut pages = 0;
    for order in Order::all() {
        let free = u64::from(zone.free_blocks_of_order(order));
        pages += free * order.pages();
        write!(w, "{free}*{}kB ", kb(order.pages()))?;
        if free == 0 {
            continue;
        }
        w.write_char('(')?;
        for (mt, letter) in MigrateType::ALL.into_iter().zip("UMEHCI".chars()) {
            if zone.free_blocks(order, mt) != 0 {
                w.write_char(letter)?;
            }
        }
        w.write_str(") ")?;
    }
    writeln!(w, "= {}kB", kb(pages))
}

fn rest(w: &mut dyn Write) -> fmt::Result {
    let info = meminfo();
    let cached = PHYS.nodes().map(|node| node_stats(node)[place(&NODE_STATS, "nr_file_pages")]).sum::<u64>();
    writeln!(w, "{cached} total pagecache pages\n{} pages in swap cache", info.swap_cached / 4)?;
    writeln!(w, "Free swap  = {}kB\nTotal swap = {}kB", info.swap_free, info.swap_total)?;
    let present: u64 = PHYS.populated_zones().map(Zone::present_pages).sum();
    let movable = PHYS
        .populated_zones()
        .filter(|zone| matches!(zone.id().kind, ZoneKind::HighMem | ZoneKind::Movable))
        .map(Zone::present_pages)
        .sum::<u64>();
    writeln!(w, "{present} pages RAM\n{movable} pages HighMem/MovableOnly")?;
    writeln!(w, "{} pages reserved", present - PHYS.total_managed_pages())
}
