//! `/proc/vmstat`: counters of zones, of nodes and of the whole machine.
//!
//! The numbers of a zone and of a node are collected here once; `/proc/zoneinfo` shows the same ones.

use super::{kb, place};
use crate::drivers::blk::{self, Disk};
use crate::memory::shrinkers::SHRINKERS;
use crate::memory::slab::SLABS;
use crate::memory::vm::{LRU, STAT, VM};
use crate::memory::{PHYS, boot, hugetlb, stack, tables};
use core::fmt::{self, Write};
use mm::addr::Order;
use mm::frame::{MigrateType, ZoneKind};
use mm::lru::LruList;
use mm::phys::{Event, Node, Zone};
use mm::port::Level;
use mm::vmstat::{NodeStat, VmEvent, ZoneStat};
use shared::text::names::{GLOBAL_STATS, NODE_STATS, NUMA_EVENTS, VM_EVENTS, ZONE_STATS};
use shared::text::vmstat::Vmstat;

/// Counters of a zone.
pub type ZoneStats = [u64; ZONE_STATS.len()];
/// Counters of a node.
pub type NodeStats = [u64; NODE_STATS.len()];

const FREE_PAGES: usize = place(&ZONE_STATS, "nr_free_pages");
const FREE_PAGES_BLOCKS: usize = place(&ZONE_STATS, "nr_free_pages_blocks");
const ZONE_LISTS: [(LruList, usize); LruList::COUNT] = [
    (LruList::InactiveAnon, place(&ZONE_STATS, "nr_zone_inactive_anon")),
    (LruList::ActiveAnon, place(&ZONE_STATS, "nr_zone_active_anon")),
    (LruList::InactiveFile, place(&ZONE_STATS, "nr_zone_inactive_file")),
    (LruList::ActiveFile, place(&ZONE_STATS, "nr_zone_active_file")),
    (LruList::Unevictable, place(&ZONE_STATS, "nr_zone_unevictable")),
];
const ANON_THPS: usize = place(&NODE_STATS, "nr_anon_transparent_hugepages");
const NR_HUGETLB: usize = place(&NODE_STATS, "nr_hugetlb");
const FROM_BUDDY: [usize; 2] =
    [place(&VM_EVENTS, "htlb_buddy_alloc_success"), place(&VM_EVENTS, "htlb_buddy_alloc_fail")];
const KERNEL_STACK: usize = place(&NODE_STATS, "nr_kernel_stack");
const PAGE_TABLE_PAGES: usize = place(&NODE_STATS, "nr_page_table_pages");
const SLAB_RECLAIMABLE: usize = place(&NODE_STATS, "nr_slab_reclaimable");
const SLAB_UNRECLAIMABLE: usize = place(&NODE_STATS, "nr_slab_unreclaimable");
const MEMMAP_BOOT_PAGES: usize = place(&GLOBAL_STATS, "nr_memmap_boot_pages");
const MLOCK: usize = place(&ZONE_STATS, "nr_mlock");
const ZONE_WRITE_PENDING: usize = place(&ZONE_STATS, "nr_zone_write_pending");
const DIRTY_THRESHOLD: usize = place(&GLOBAL_STATS, "nr_dirty_threshold");
const DIRTY_BACKGROUND_THRESHOLD: usize = place(&GLOBAL_STATS, "nr_dirty_background_threshold");
const PGFREE: usize = place(&VM_EVENTS, "pgfree");
const SLABS_SCANNED: usize = place(&VM_EVENTS, "slabs_scanned");

/// Counters of contexts' memory and of the page cache on a node, by name.
const NODE: [(NodeStat, usize); 28] = [
    (NodeStat::AnonMapped, place(&NODE_STATS, "nr_anon_pages")),
    (NodeStat::AnonThps, place(&NODE_STATS, "nr_anon_transparent_hugepages")),
    (NodeStat::FileMapped, place(&NODE_STATS, "nr_mapped")),
    (NodeStat::FilePages, place(&NODE_STATS, "nr_file_pages")),
    (NodeStat::Shmem, place(&NODE_STATS, "nr_shmem")),
    (NodeStat::InactiveAnon, place(&NODE_STATS, "nr_inactive_anon")),
    (NodeStat::ActiveAnon, place(&NODE_STATS, "nr_active_anon")),
    (NodeStat::InactiveFile, place(&NODE_STATS, "nr_inactive_file")),
    (NodeStat::ActiveFile, place(&NODE_STATS, "nr_active_file")),
    (NodeStat::Unevictable, place(&NODE_STATS, "nr_unevictable")),
    (NodeStat::IsolatedAnon, place(&NODE_STATS, "nr_isolated_anon")),
    (NodeStat::IsolatedFile, place(&NODE_STATS, "nr_isolated_file")),
    (NodeStat::WorkingsetNodes, place(&NODE_STATS, "workingset_nodes")),
    (NodeStat::RefaultAnon, place(&NODE_STATS, "workingset_refault_anon")),
    (NodeStat::RefaultFile, place(&NODE_STATS, "workingset_refault_file")),
    (NodeStat::ActivateAnon, place(&NODE_STATS, "workingset_activate_anon")),
    (NodeStat::ActivateFile, place(&NODE_STATS, "workingset_activate_file")),
    (NodeStat::RestoreAnon, place(&NODE_STATS, "workingset_restore_anon")),
    (NodeStat::RestoreFile, place(&NODE_STATS, "workingset_restore_file")),
    (NodeStat::WorkingsetNodereclaim, place(&NODE_STATS, "workingset_nodereclaim")),
    (NodeStat::Dirty, place(&NODE_STATS, "nr_dirty")),
    (NodeStat::Writeback, place(&NODE_STATS, "nr_writeback")),
    (NodeStat::VmscanWrite, place(&NODE_STATS, "nr_vmscan_write")),
    (NodeStat::VmscanImmediate, place(&NODE_STATS, "nr_vmscan_immediate_reclaim")),
    (NodeStat::Dirtied, place(&NODE_STATS, "nr_dirtied")),
    (NodeStat::Written, place(&NODE_STATS, "nr_written")),
    (NodeStat::ThrottledWritten, place(&NODE_STATS, "nr_throttled_written")),
    (NodeStat::SwapCached, place(&NODE_STATS, "nr_swapcached")),
];

/// Events of contexts' memory and of the page cache, by name.
const EVENTS: [(VmEvent, usize); 44] = [
    (VmEvent::PgFault, place(&VM_EVENTS, "pgfault")),
    (VmEvent::PgMajFault, place(&VM_EVENTS, "pgmajfault")),
    (VmEvent::PgReuse, place(&VM_EVENTS, "pgreuse")),
    (VmEvent::ThpFaultAlloc, place(&VM_EVENTS, "thp_fault_alloc")),
    (VmEvent::ThpFaultFallback, place(&VM_EVENTS, "thp_fault_fallback")),
    (VmEvent::ThpSplitPage, place(&VM_EVENTS, "thp_split_page")),
    (VmEvent::ThpSplitPageFailed, place(&VM_EVENTS, "thp_split_page_failed")),
    (VmEvent::ThpSplitPmd, place(&VM_EVENTS, "thp_split_pmd")),
    (VmEvent::ThpZeroPageAlloc, place(&VM_EVENTS, "thp_zero_page_alloc")),
    (VmEvent::ThpZeroPageAllocFailed, place(&VM_EVENTS, "thp_zero_page_alloc_failed")),
    (VmEvent::ThpSwpoutFallback, place(&VM_EVENTS, "thp_swpout_fallback")),
    (VmEvent::PgMlocked, place(&VM_EVENTS, "unevictable_pgs_mlocked")),
    (VmEvent::PgMunlocked, place(&VM_EVENTS, "unevictable_pgs_munlocked")),
    (VmEvent::PswpIn, place(&VM_EVENTS, "pswpin")),
    (VmEvent::PswpOut, place(&VM_EVENTS, "pswpout")),
    (VmEvent::PgActivate, place(&VM_EVENTS, "pgactivate")),
    (VmEvent::PgDeactivate, place(&VM_EVENTS, "pgdeactivate")),
    (VmEvent::PgLazyFree, place(&VM_EVENTS, "pglazyfree")),
    (VmEvent::PgLazyFreed, place(&VM_EVENTS, "pglazyfreed")),
    (VmEvent::PgRefill, place(&VM_EVENTS, "pgrefill")),
    (VmEvent::PgStealKswapd, place(&VM_EVENTS, "pgsteal_kswapd")),
    (VmEvent::PgStealDirect, place(&VM_EVENTS, "pgsteal_direct")),
    (VmEvent::PgScanKswapd, place(&VM_EVENTS, "pgscan_kswapd")),
    (VmEvent::PgScanDirect, place(&VM_EVENTS, "pgscan_direct")),
    (VmEvent::PgScanAnon, place(&VM_EVENTS, "pgscan_anon")),
    (VmEvent::PgScanFile, place(&VM_EVENTS, "pgscan_file")),
    (VmEvent::PgStealAnon, place(&VM_EVENTS, "pgsteal_anon")),
    (VmEvent::PgStealFile, place(&VM_EVENTS, "pgsteal_file")),
    (VmEvent::PgScanDirectThrottle, place(&VM_EVENTS, "pgscan_direct_throttle")),
    (VmEvent::PgInodeSteal, place(&VM_EVENTS, "pginodesteal")),
    (VmEvent::KswapdLowHit, place(&VM_EVENTS, "kswapd_low_wmark_hit_quickly")),
    (VmEvent::KswapdHighHit, place(&VM_EVENTS, "kswapd_high_wmark_hit_quickly")),
    (VmEvent::PageOutRun, place(&VM_EVENTS, "pageoutrun")),
    (VmEvent::PgRotated, place(&VM_EVENTS, "pgrotated")),
    (VmEvent::DropPagecache, place(&VM_EVENTS, "drop_pagecache")),
    (VmEvent::DropSlab, place(&VM_EVENTS, "drop_slab")),
    (VmEvent::OomKill, place(&VM_EVENTS, "oom_kill")),
    (VmEvent::SwapRa, place(&VM_EVENTS, "swap_ra")),
    (VmEvent::SwapRaHit, place(&VM_EVENTS, "swap_ra_hit")),
    (VmEvent::SwpinZero, place(&VM_EVENTS, "swpin_zero")),
    (VmEvent::SwpoutZero, place(&VM_EVENTS, "swpout_zero")),
    (VmEvent::UnevictableCulled, place(&VM_EVENTS, "unevictable_pgs_culled")),
    (VmEvent::UnevictableScanned, place(&VM_EVENTS, "unevictable_pgs_scanned")),
    (VmEvent::UnevictableRescued, place(&VM_EVENTS, "unevictable_pgs_rescued")),
];

const PGPGIN: usize = place(&VM_EVENTS, "pgpgin");
const PGPGOUT: usize = place(&VM_EVENTS, "pgpgout");

/// Events that have a counter for each kind of zone: those of DMA, DMA32, Normal and Movable. Linux has none for
/// HighMem where it has 64 bits.
const BY_ZONE: [(Event, [usize; 4]); 2] = [
    (
        Event::PgAlloc,
        [
            place(&VM_EVENTS, "pgalloc_dma"),
            place(&VM_EVENTS, "pgalloc_dma32"),
            place(&VM_EVENTS, "pgalloc_normal"),
            place(&VM_EVENTS, "pgalloc_movable"),
        ],
    ),
    (
        Event::AllocStall,
        [
            place(&VM_EVENTS, "allocstall_dma"),
            place(&VM_EVENTS, "allocstall_dma32"),
            place(&VM_EVENTS, "allocstall_normal"),
            place(&VM_EVENTS, "allocstall_movable"),
        ],
    ),
];

/// Counters of where allocations came from, by name.
const NUMA: [(Event, usize); NUMA_EVENTS.len()] = [
    (Event::NumaHit, place(&NUMA_EVENTS, "numa_hit")),
    (Event::NumaMiss, place(&NUMA_EVENTS, "numa_miss")),
    (Event::NumaForeign, place(&NUMA_EVENTS, "numa_foreign")),
    (Event::NumaInterleave, place(&NUMA_EVENTS, "numa_interleave")),
    (Event::NumaLocal, place(&NUMA_EVENTS, "numa_local")),
    (Event::NumaOther, place(&NUMA_EVENTS, "numa_other")),
];

/// Where the allocations of one zone came from.
pub fn numa_events(zone: &Zone) -> [u64; NUMA_EVENTS.len()] {
    let mut events = [0; NUMA_EVENTS.len()];
    for (event, place) in NUMA {
        events[place] = PHYS.events(zone, event);
    }
    events
}

/// The counters of one zone.
pub fn zone_stats(zone: &Zone) -> ZoneStats {
    let mut stats = [0; ZONE_STATS.len()];
    stats[FREE_PAGES] = zone.free_pages();
    for (list, place) in ZONE_LISTS {
        stats[place] = LRU.in_zone(zone.id(), list);
    }
    stats[MLOCK] = STAT.in_zone(zone.id(), ZoneStat::Mlocked);
    stats[ZONE_WRITE_PENDING] = STAT.in_zone(zone.id(), ZoneStat::WritePending);
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
    stats[PAGE_TABLE_PAGES] = tables::in_use_on(node.id()) + STAT.on_node(node.id(), NodeStat::PageTables);
    for (stat, place) in NODE {
        stats[place] = STAT.on_node(node.id(), stat);
    }
    // Linux shows these in huge pages, and only here.
    stats[ANON_THPS] /= Level::PMD.pages();
    let in_use = hugetlb::pools().map(|pool| {
        let counts = pool.counts(Some(node.id()));
        (counts.total - counts.free) * pool.frames()
    });
    stats[NR_HUGETLB] = in_use.sum();
    let slabs = SLABS.totals(Some(node.id()));
    stats[SLAB_RECLAIMABLE] = slabs.reclaimable;
    stats[SLAB_UNRECLAIMABLE] = slabs.unreclaimable + slabs.large;
    stats
}

fn add<const N: usize>(sum: &mut [u64; N], more: &[u64; N]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// Writes `/proc/vmstat`.
pub fn vmstat(w: &mut dyn Write) -> fmt::Result {
    numbers().write(w)
}

/// The numbers of `/proc/vmstat`.
pub fn numbers() -> Vmstat {
    let mut all = Vmstat::ZERO;
    for zone in PHYS.populated_zones() {
        add(&mut all.zone, &zone_stats(zone));
        add(&mut all.numa, &numa_events(zone));
        let column = [ZoneKind::Dma, ZoneKind::Dma32, ZoneKind::Normal, ZoneKind::Movable];
        if let Some(column) = column.iter().position(|kind| *kind == zone.id().kind) {
            for (event, places) in BY_ZONE {
                all.events[places[column]] += PHYS.events(zone, event);
            }
        }
        all.events[PGFREE] += PHYS.events(zone, Event::PgFree);
    }
    for node in PHYS.nodes() {
        add(&mut all.node, &node_stats(node));
    }
    let limits = VM.dirty_limits();
    all.global[DIRTY_THRESHOLD] = limits.limit;
    all.global[DIRTY_BACKGROUND_THRESHOLD] = limits.background;
    all.global[MEMMAP_BOOT_PAGES] = boot::descriptor_pages();
    all.events[SLABS_SCANNED] = SHRINKERS.scanned();
    for pool in hugetlb::pools() {
        FROM_BUDDY.into_iter().zip(pool.from_buddy()).for_each(|(place, count)| all.events[place] += count);
    }
    for (event, place) in EVENTS {
        all.events[place] = STAT.event(event);
    }
    // What disks have done, whoever asked: so the monitor counts the same.
    let disks = blk::disks().map(Disk::counters);
    let moved =
        disks.fold([0, 0], |[read, written], disk| [read + disk.read_bytes, written + disk.write_bytes]);
    [all.events[PGPGIN], all.events[PGPGOUT]] = moved.map(|bytes| bytes / 1024);
    all
}
