//! `mm balance`: who has which part of memory, counted twice.
//!
//! Owns: the two counts and their difference: what the frames say, one by one, and what the counters of their users say.

use crate::commands::{Outcome, fail};
use crate::console;
use crate::memory::areas::AREAS;
use crate::memory::slab::SLABS;
use crate::memory::vm::VM;
use crate::memory::{PHYS, hugetlb, tables};
use mm::folio::PageCensus;
use mm::vmstat::NodeStat;
use shared::exit::ExitStatus;

/// `mm balance`: `managed` is the sum of all that follow; `diff` is what the two counts do not agree on.
pub fn balance() -> Outcome {
    PHYS.take_in_deferred(u32::MAX);
    // What waits for a flush has no user any more, and still holds its frames.
    AREAS.purge();
    let PageCensus { free, cached, slab, large, folios, held } = PageCensus::take(&PHYS);
    let stat = |stat| VM.stat().total(stat);
    let (anon, file) = (stat(NodeStat::AnonMapped), stat(NodeStat::FilePages));
    let shmem = stat(NodeStat::Shmem);
    let totals = SLABS.totals(None);
    let (slabs, larges) = (totals.reclaimable + totals.unreclaimable, totals.large);
    let pgtables = stat(NodeStat::PageTables) + tables::from_zones();
    let vmalloc = AREAS.used_pages();
    let pools: u64 = hugetlb::pools().map(|pool| pool.counts(None).total * pool.frames()).sum();
    let named = pgtables + vmalloc + pools;
    let managed = PHYS.total_managed_pages();
    let pairs = [
        (free, PHYS.total_free_pages()),
        (cached, PHYS.cached_pages()),
        (slab, slabs),
        (large, larges),
        (folios, anon + file),
        // What is left has no counter of its own; it cannot be less than those that have one.
        (held.min(named), named),
        (free + cached + slab + large + folios + held, managed),
    ];
    let diff: u64 = pairs.iter().map(|(frames, counters)| frames.abs_diff(*counters)).sum();
    console::print(format_args!(
        "managed={managed} free={free} pcp={cached} anon={anon} file={} shmem={shmem} slab={slab} kmalloc_large={large} \
         pgtables={pgtables} vmalloc={vmalloc} hugetlb={pools} other={} diff={diff}\n",
        file.saturating_sub(shmem),
        held.saturating_sub(named)
    ));
    if diff == 0 {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("mm balance: frames and counters differ: {pairs:?}")))
    }
}
