//! `/proc/vmstat`: counters of zones, of nodes and of the whole machine.
//!
//! The numbers of a zone and of a node are collected here once; `/proc/zoneinfo` shows the same ones.

use super::{kb, place};
use crate::arch::percpu::{self, Counter};
use crate::arch::smp;
use crate::memory::{PHYS, boot, stack, tables};
use core::fmt::{self, Write};
use mm::addr::Order;
use mm::frame::{MigrateType, ZoneKind};
use mm::phys::{Node, Zone};
use shared::text::names::{GLOBAL_STATS, NODE_STATS, VM_EVENTS, ZONE_STATS};
use shared::text::vmstat::Vmstat;

/// Counters of a zone.
pub type ZoneStats = [u64; ZONE_STATS.len()];
/// Counters of a node.
pub type NodeStats = [u64; NODE_STATS.len()];

const FREE_PAGES: usize = place(&ZONE_STATS, "nr_free_pages");
const FREE_PAGES_BLOCKS: usize = place(&ZONE_STATS, "nr_free_pages_blocks");
const KERNEL_STACK: usize = place(&NODE_STATS, "nr_kernel_stack");
const PAGE_TABLE_PAGES: usize = place(&NODE_STATS, "nr_page_table_pages");
const MEMMAP_BOOT_PAGES: usize = place(&GLOBAL_STATS, "nr_memmap_boot_pages");
const PGFREE: usize = place(&VM_EVENTS, "pgfree");
const PGFAULT: usize = place(&VM_EVENTS, "pgfault");

/// The allocations of a kind of zone; Linux has no counter for HighMem where it has 64 bits.
const fn pgalloc(kind: ZoneKind) -> Option<usize> {
    const DMA: usize = place(&VM_EVENTS, "pgalloc_dma");
    const DMA32: usize = place(&VM_EVENTS, "pgalloc_dma32");
    const NORMAL: usize = place(&VM_EVENTS, "pgalloc_normal");
    const MOVABLE: usize = place(&VM_EVENTS, "pgalloc_movable");
    match kind {
        ZoneKind::Dma => Some(DMA),
        ZoneKind::Dma32 => Some(DMA32),
        ZoneKind::Normal => Some(NORMAL),
        ZoneKind::HighMem => None,
        ZoneKind::Movable => Some(MOVABLE),
    }
}

/// The counters of one zone.
pub fn zone_stats(zone: &Zone) -> ZoneStats {
    let mut stats = [0; ZONE_STATS.len()];
    stats[FREE_PAGES] = zone.free_pages();
    let types = MigrateType::ALL.into_iter().filter(|mt| *mt != MigrateType::Isolate);
    stats[FREE_PAGES_BLOCKS] = types
        .flat_map(|mt| {
            (Order::PAGEBLOCK.get()..=Order::MAX.get()).filter_map(Order::new).map(move |o| (mt, o))
        })
        .map(|(mt, order)| u64::from(zone.free_blocks(order, mt)) * order.pages())
        .sum();
    stats
}

/// The counters of one node.
pub fn node_stats(node: &Node) -> NodeStats {
    let mut stats = [0; NODE_STATS.len()];
    stats[KERNEL_STACK] = kb(stack::pages_in_use_on(node.id()));
    stats[PAGE_TABLE_PAGES] = tables::in_use_on(node.id());
    stats
}

fn add<const N: usize>(sum: &mut [u64; N], more: &[u64; N]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// Writes `/proc/vmstat`.
pub fn vmstat(w: &mut dyn Write) -> fmt::Result {
    let mut all = Vmstat::ZERO;
    for zone in PHYS.populated_zones() {
        add(&mut all.zone, &zone_stats(zone));
        if let Some(event) = pgalloc(zone.id().kind) {
            all.events[event] += zone.total_allocated();
        }
        all.events[PGFREE] += zone.total_freed();
    }
    for node in PHYS.nodes() {
        add(&mut all.node, &node_stats(node));
    }
    all.global[MEMMAP_BOOT_PAGES] = boot::descriptor_pages();
    all.events[PGFAULT] = (0..smp::online())
        .filter_map(smp::area)
        .map(|area| percpu::counter_of(area, Counter::PageFaults))
        .sum();
    all.write(w)
}
