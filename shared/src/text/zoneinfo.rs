//! `/proc/zoneinfo`. Source: Linux `mm/vmstat.c` (`zoneinfo_show_print`).

use super::names::{NODE_STATS, NUMA_EVENTS, ZONE_STATS};
use core::fmt;

/// One CPU's lists in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pageset {
    /// CPU number.
    pub cpu: u32,
    /// Pages on the lists.
    pub count: u64,
    /// Length above which pages go back to the buddy allocator.
    pub high: u64,
    /// Pages moved at once.
    pub batch: u64,
    /// Lower bound of `high`.
    pub high_min: u64,
    /// Upper bound of `high`.
    pub high_max: u64,
    /// Change of a counter that one CPU may keep to itself.
    pub stat_threshold: u64,
}

/// What only a zone with memory shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Populated<'a> {
    /// [`ZONE_STATS`] of the zone.
    pub stats: [u64; ZONE_STATS.len()],
    /// [`NUMA_EVENTS`] of the zone.
    pub numa: [u64; NUMA_EVENTS.len()],
    /// One entry per online CPU.
    pub pagesets: &'a [Pageset],
    /// Whether reclaim gave the node up (0 or 1).
    pub node_unreclaimable: u64,
    /// First page frame of the zone.
    pub start_pfn: u64,
}

/// One zone. Sizes and watermarks are in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone<'a> {
    /// Node number.
    pub node: u32,
    /// Zone name, such as `DMA32`.
    pub name: &'a str,
    /// [`NODE_STATS`], given with the first zone of the node that has memory.
    pub node_stats: Option<&'a [u64; NODE_STATS.len()]>,
    /// Free pages.
    pub free: u64,
    /// Watermark boost.
    pub boost: u64,
    /// Watermark below which only reserves are served.
    pub min: u64,
    /// Watermark that wakes kswapd.
    pub low: u64,
    /// Watermark at which kswapd sleeps.
    pub high: u64,
    /// Watermark for promotion from slower memory.
    pub promo: u64,
    /// Pages between the first and the last.
    pub spanned: u64,
    /// Pages that exist.
    pub present: u64,
    /// Pages given to the buddy allocator.
    pub managed: u64,
    /// Pages of contiguous memory areas.
    pub cma: u64,
    /// Pages kept from allocations that could use each higher zone (`lowmem_reserve`).
    pub protection: &'a [u64],
    /// The rest; `None` for a zone without memory.
    pub populated: Option<Populated<'a>>,
}

/// Writes the text of one zone.
///
/// # Errors
/// Those of the writer.
pub fn write_zone(w: &mut dyn fmt::Write, zone: &Zone<'_>) -> fmt::Result {
    write!(w, "Node {}, zone {:>8}", zone.node, zone.name)?;
    if let Some(values) = zone.node_stats {
        w.write_str("\n  per-node stats")?;
        write_stats(w, &NODE_STATS, values)?;
    }
    write!(w, "\n  pages free     {}", zone.free)?;
    let pages = [
        ("boost", zone.boost),
        ("min", zone.min),
        ("low", zone.low),
        ("high", zone.high),
        ("promo", zone.promo),
        ("spanned", zone.spanned),
        ("present", zone.present),
        ("managed", zone.managed),
        ("cma", zone.cma),
    ];
    for (name, value) in pages {
        write!(w, "\n        {name:<8} {value}")?;
    }
    w.write_str("\n        protection: (")?;
    for (i, reserve) in zone.protection.iter().enumerate() {
        write!(w, "{}{reserve}", if i == 0 { "" } else { ", " })?;
    }
    w.write_str(")")?;
    if let Some(populated) = &zone.populated {
        write_populated(w, populated)?;
    }
    w.write_char('\n')
}

fn write_populated(w: &mut dyn fmt::Write, zone: &Populated<'_>) -> fmt::Result {
    write_stats(w, &ZONE_STATS, &zone.stats)?;
    write_stats(w, &NUMA_EVENTS, &zone.numa)?;
    w.write_str("\n  pagesets")?;
    for set in zone.pagesets {
        write!(w, "\n    cpu: {}", set.cpu)?;
        let lists = [
            ("count:", set.count),
            ("high:", set.high),
            ("batch:", set.batch),
            ("high_min:", set.high_min),
            ("high_max:", set.high_max),
        ];
        for (name, value) in lists {
            write!(w, "\n              {name:<9} {value}")?;
        }
        write!(w, "\n  vm stats threshold: {}", set.stat_threshold)?;
    }
    write!(
        w,
        "\n  node_unreclaimable:  {}\n  start_pfn:           {}",
        zone.node_unreclaimable, zone.start_pfn
    )
}

fn write_stats(w: &mut dyn fmt::Write, names: &[&str], values: &[u64]) -> fmt::Result {
    names.iter().zip(values).try_for_each(|(name, value)| write!(w, "\n      {name:<12} {value}"))
}
