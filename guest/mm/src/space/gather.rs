//! Pages that were unmapped and wait for the flush (Linux `struct mmu_gather`, its batches of pages).
//!
//! Owns: the first frames of their folios, and what to subtract from the counters. Invariants: a page gives up the reference of
//! its entry only after the flush; so none is reused while a CPU may still reach it. Nor is a page of a file known as dirty
//! before: who cleans it then would not see what a CPU writes that has not heard of the flush yet.

use super::{Mm, Rss, Vm};
use crate::addr::{NodeId, Order};
use crate::folio::Folio;
use crate::frame::{FrameIdx, FrameTable};
use crate::mutant::planted;
use crate::port::Machine;
use crate::vmstat::NodeStat;

/// How many entries are unmapped between two flushes.
const BATCH: usize = 512;

/// See the module documentation.
pub(super) struct Unmapped<'t> {
    table: &'t FrameTable,
    heads: [Option<FrameIdx>; BATCH],
    /// Pages of files whose entry was dirty, one bit each.
    dirty: [u64; BATCH / 64],
    any_dirty: bool,
    len: usize,
    anon: u64,
    hugetlb: u64,
    shmem: u64,
    swap: u64,
    file: u64,
    /// Anonymous pages of `node` that no entry maps any more, and that still count as mapped.
    idle: u64,
    node: NodeId,
}

/// What unmapped pages count as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counted {
    /// Resident anonymous pages.
    Anon,
    /// Pages from a pool of huge pages.
    Hugetlb,
    /// Resident pages of shared memory.
    Shmem,
    /// Resident pages of files.
    File,
}

impl<'t> Unmapped<'t> {
    pub(super) fn new(table: &'t FrameTable) -> Self {
        Self {
            table,
            heads: [None; BATCH],
            dirty: [0; BATCH / 64],
            any_dirty: false,
            len: 0,
            anon: 0,
            hugetlb: 0,
            shmem: 0,
            file: 0,
            swap: 0,
            idle: 0,
            node: NodeId::ZERO,
        }
    }

    /// The descriptors of the pages.
    #[inline(always)]
    pub(super) fn table(&self) -> &'t FrameTable {
        self.table
    }

    /// An entry for `pages` pages of `folio` is gone: so many of this kind less are resident. Whether there is room for
    /// another.
    #[inline(always)]
    #[must_use = "without room the flush must come first"]
    pub(super) fn push(&mut self, folio: Folio<'_>, pages: u64, counted: Counted) -> bool {
        if let Some(slot) = self.heads.get_mut(self.len) {
            *slot = Some(folio.idx());
            self.len += 1;
        }
        match counted {
            Counted::Anon => self.anon += pages,
            Counted::Hugetlb => self.hugetlb += pages,
            Counted::Shmem => self.shmem += pages,
            Counted::File => self.file += pages,
        }
        self.len < BATCH
    }

    /// No entry maps an anonymous folio any more, of `pages` pages on `node`.
    #[inline(always)]
    pub(super) fn idle<M: Machine>(&mut self, vm: &Vm<'_, M>, node: NodeId, pages: u64) {
        if node != self.node {
            self.count_idle(vm);
            self.node = node;
        }
        self.idle += pages;
    }

    #[cold]
    fn count_idle<M: Machine>(&mut self, vm: &Vm<'_, M>) {
        let idle = core::mem::take(&mut self.idle);
        vm.stat().shrink(vm.machine().cpu(), self.node, NodeStat::AnonMapped, idle);
    }

    /// An entry names a slot of swap no more.
    pub(super) fn swapped(&mut self) {
        self.swap += 1;
    }

    /// The entry of the page that was pushed last was dirty.
    pub(super) fn was_dirty(&mut self) {
        let at = self.len.saturating_sub(1);
        self.any_dirty = true;
        if let Some(word) = self.dirty.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    fn take_dirty(&mut self, at: usize) -> bool {
        self.dirty.get_mut(at / 64).is_some_and(|word| {
            let was = *word >> (at % 64) & 1 != 0;
            *word &= !(1 << (at % 64));
            was
        })
    }

    /// Counts what is gone.
    fn count<M: Machine>(&mut self, vm: &Vm<'_, M>, mm: &Mm<'_, M>) {
        self.count_idle(vm);
        if self.anon != 0 && !planted("vm::basic.rss_sticks") {
            mm.counters().sub_rss(Rss::Anon, core::mem::take(&mut self.anon));
        }
        if self.swap != 0 {
            mm.counters().sub_rss(Rss::Swap, core::mem::take(&mut self.swap));
        }
        if self.shmem != 0 {
            mm.counters().sub_rss(Rss::Shmem, core::mem::take(&mut self.shmem));
        }
        if self.file != 0 {
            mm.counters().sub_rss(Rss::File, core::mem::take(&mut self.file));
        }
        if self.hugetlb != 0 {
            mm.counters().sub_hugetlb(core::mem::take(&mut self.hugetlb));
        }
    }

    /// Gives the references back, after the flush.
    pub(super) fn release<'p, M: Machine>(&mut self, vm: &Vm<'p, M>, mm: &Mm<'p, M>)
    where
        't: 'p,
    {
        self.count(vm, mm);
        // Single pages whose last reference this was go back together, in place of those that have been looked at.
        let (table, mut dead) = (self.table, 0);
        let any_dirty = core::mem::take(&mut self.any_dirty);
        for at in 0..core::mem::take(&mut self.len) {
            let Some(&Some(idx)) = self.heads.get(at) else { break };
            let folio = Folio::at(table, idx);
            if any_dirty && self.take_dirty(at) {
                vm.dirtied(folio);
            }
            vm.free_swap_cache(folio);
            if !folio.put(1) {
                continue;
            }
            if folio.order() != Order::ZERO {
                vm.free_folio(folio);
            } else if let Some(slot) = self.heads.get_mut(dead) {
                *slot = Some(idx);
                dead += 1;
            }
        }
        // SAFETY: the last reference of each was given back just now.
        let freed = unsafe { vm.lru().free_bulk(vm.phys(), table, self.heads.get(..dead).unwrap_or(&[])) };
        if let Err(error) = freed {
            vm.corrupt(&error);
        }
    }
}
