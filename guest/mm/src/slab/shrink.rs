//! Giving slabs back that hold no object (Linux `__kmem_cache_shrink`, `flush_all`).
//!
//! Owns: moving the slabs of CPUs to their nodes, and emptying the lists of nodes. Whoever wants everything back calls
//! [`Slabs::flush_all`] first.

use super::cache::{Cache, Here};
use super::frame::SlabFrame;
use super::{SlabFlags, Slabs};
use crate::frame::FrameIdx;
use crate::mutant::planted;
use crate::port::{Cpu, CpuId, Machine};
use crate::sync::Place;

impl<'p, M: Machine> Slabs<'p, M> {
    /// [`Slabs::flush_cpu`] on every CPU; with interrupts masked on the running one only.
    pub fn flush_all(&self, cache: &Cache) {
        let cpu = self.machine().cpu();
        for id in (0..cache.cpu_count).map(CpuId) {
            if id == cpu.id() || cpu.can_wait() {
                cpu.call_on(id, &|| self.flush_cpu(cache));
            }
        }
    }

    /// Gives up all slabs of `cache` that this CPU owns: to their nodes, or to the page allocator when empty.
    pub fn flush_cpu(&self, cache: &Cache) {
        let here = cache.here(self.machine().cpu());
        if let Some(idx) = self.deactivate(cache, &here) {
            self.hand_to_node(cache, idx);
        }
        self.spill(cache, &here, 0);
    }

    /// Gives back the empty slabs on the lists of the nodes; how many there were (Linux `kmem_cache_shrink`).
    pub fn shrink(&self, cache: &Cache) -> u64 {
        let mut slabs = 0;
        if cache.flags.contains(SlabFlags::TYPESAFE_BY_RCU) && !self.machine().cpu().can_wait() {
            // None of them would go.
            return slabs;
        }
        for node in cache.all_nodes() {
            loop {
                let mut partial = node.lock(self.machine().cpu());
                let empty = partial.iter(&cache.table).find(|idx| {
                    let slab = SlabFrame::at(&cache.table, *idx);
                    slab.word().load().chain().count == slab.inuse()
                });
                let Some(idx) = empty else { break };
                partial.remove(&cache.table, idx);
                drop(partial);
                self.discard(cache, idx);
                slabs += 1;
            }
        }
        slabs
    }

    /// Takes the active slab out of use; `None` if there is none or no object of it is free.
    fn deactivate(&self, cache: &Cache, here: &Here<'_, M::Cpu>) -> Option<FrameIdx> {
        if !planted("slab.hand_stays_closed") {
            self.clear_hand(cache, here.part);
        }
        let slab = here.part.take_active(&cache.table)?;
        let is_full = cache.reuses && slab.local().freelist() == 0 && slab.word().retire(here.part.cpu());
        (!is_full).then_some(slab.idx())
    }

    /// Hands slabs that this CPU keeps to their nodes, those longest unused first, until it keeps `left`.
    pub(super) fn spill(&self, cache: &Cache, here: &Here<'_, M::Cpu>, left: u32) {
        let part = here.part;
        while part.partial_count.get() > left {
            // SAFETY: the list is this CPU's, interrupts are masked, and this is the only reference.
            let list = unsafe { &mut *part.partial.get() };
            let Some(idx) = list.last() else { return };
            list.remove(&cache.table, idx);
            part.partial_count.set(part.partial_count.get() - 1);
            self.hand_to_node(cache, idx);
        }
    }

    /// Puts a slab that this CPU owns, and that is on no list, on the list of its node; one without objects in use
    /// goes back if the node has enough.
    pub(super) fn hand_to_node(&self, cache: &Cache, idx: FrameIdx) {
        let slab = SlabFrame::at(&cache.table, idx);
        let Some((_, block)) = cache.table.lookup(idx.pfn()) else { return };
        let node = cache.node(block.zone().node.index());
        let is_empty = || slab.word().load().chain().count == slab.inuse();
        if is_empty() && node.partial_count() >= u64::from(cache.min_partial) {
            self.discard(cache, idx);
        } else {
            self.put_on_node(cache, idx);
        }
    }

    /// Puts a slab that is on no list on the list of its node.
    pub(super) fn put_on_node(&self, cache: &Cache, idx: FrameIdx) {
        let Some((_, block)) = cache.table.lookup(idx.pfn()) else { return };
        let mut partial = cache.node(block.zone().node.index()).lock(self.machine().cpu());
        partial.push(&cache.table, idx);
        SlabFrame::at(&cache.table, idx).word().hand_to(Place::Node);
    }
}
