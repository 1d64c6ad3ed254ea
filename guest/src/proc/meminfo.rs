//! `/proc/meminfo`: where memory is.

use super::kb;
use crate::arch::percpu::PerCpu;
use crate::arch::smp;
use crate::files;
use crate::memory::areas::{self, AREAS};
use crate::memory::slab::SLABS;
use crate::memory::vm::{self, STAT, SWAP};
use crate::memory::{PHYS, boot, hugetlb, stack, tables};
use core::fmt::{self, Write};
use mm::addr::PAGE_SIZE;
use mm::port::Level;
use mm::vmstat::NodeStat;
use shared::text::meminfo::Meminfo;

/// Writes `/proc/meminfo`.
pub fn meminfo(w: &mut dyn Write) -> fmt::Result {
    numbers().write(w)
}

/// The numbers of `/proc/meminfo`.
pub fn numbers() -> Meminfo {
    let (total, free) = (PHYS.total_managed_pages(), PHYS.total_free_pages());
    let leaves = boot::direct_map_leaves();
    let slabs = SLABS.totals(None);
    let huge = hugetlb::default_pool().counts(None);
    let commit = vm::commit_info();
    let stat = |stat| kb(STAT.total(stat));
    let buffers = files::pages_of_disks();
    let files = STAT.total(NodeStat::FilePages).saturating_sub(STAT.total(NodeStat::SwapCached) + buffers);
    Meminfo {
        mem_total: kb(total),
        mem_free: kb(free),
        buffers: kb(buffers),
        cached: kb(files),
        swap_cached: stat(NodeStat::SwapCached),
        dirty: stat(NodeStat::Dirty),
        writeback: stat(NodeStat::Writeback),
        mem_available: kb(available(free, slabs.reclaimable)),
        kreclaimable: kb(slabs.reclaimable),
        slab: kb(slabs.reclaimable + slabs.unreclaimable + slabs.large),
        sreclaimable: kb(slabs.reclaimable),
        sunreclaim: kb(slabs.unreclaimable + slabs.large),
        active: stat(NodeStat::ActiveAnon) + stat(NodeStat::ActiveFile),
        inactive: stat(NodeStat::InactiveAnon) + stat(NodeStat::InactiveFile),
        active_anon: stat(NodeStat::ActiveAnon),
        inactive_anon: stat(NodeStat::InactiveAnon),
        active_file: stat(NodeStat::ActiveFile),
        inactive_file: stat(NodeStat::InactiveFile),
        unevictable: stat(NodeStat::Unevictable),
        swap_total: kb(SWAP.total_slots()),
        swap_free: kb(SWAP.free_slots()),
        kernel_stack: kb(stack::pages_in_use()),
        mlocked: stat(NodeStat::Mlocked),
        anon_pages: stat(NodeStat::AnonMapped),
        mapped: stat(NodeStat::FileMapped),
        shmem: stat(NodeStat::Shmem),
        page_tables: kb(tables::in_use()) + stat(NodeStat::PageTables),
        commit_limit: kb(commit.limit),
        committed_as: kb(commit.committed),
        anon_huge_pages: stat(NodeStat::AnonThps),
        // As Linux counts it: its end is the last address, not the first one after.
        vmalloc_total: (areas::size() - 1) >> 10,
        vmalloc_used: kb(AREAS.used_pages()),
        percpu: kb(u64::from(smp::online()) * (size_of::<PerCpu>() as u64).div_ceil(PAGE_SIZE)),
        huge_pages_total: huge.total,
        huge_pages_free: huge.free,
        huge_pages_rsvd: huge.reserved,
        huge_pages_surp: huge.surplus,
        huge_page_size: kb(hugetlb::default_pool().frames()),
        hugetlb: hugetlb::pools().map(|pool| kb(pool.counts(None).total * pool.frames())).sum(),
        direct_map_4k: kb(leaves.pte),
        direct_map_2m: kb(leaves.pmd * Level::PMD.pages()),
        // Linux leaves the line out where the CPU has no such pages; here it says 0.
        direct_map_1g: Some(kb(leaves.pud * Level::PUD.pages())),
        ..Meminfo::default()
    }
}

/// What new work can have before memory is short (Linux `si_mem_available`): free pages above all reserves, and what
/// files and caches would give back, of each of which half is taken to be in use, but not more than the low marks.
fn available(free: u64, reclaimable: u64) -> u64 {
    let low: u64 = PHYS.populated_zones().map(|zone| zone.watermarks().low).sum();
    let files = STAT.total(NodeStat::ActiveFile) + STAT.total(NodeStat::InactiveFile);
    let spare = |pages: u64| pages - low.min(pages / 2);
    (free + spare(files) + spare(reclaimable)).saturating_sub(PHYS.reserved_pages())
}
