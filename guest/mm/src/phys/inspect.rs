//! Looking at free lists and pageblocks, for `/proc/pagetypeinfo` and the like.
//!
//! Owns: snapshots. Invariants: looking changes nothing and allocates nothing.

use super::Phys;
use crate::addr::{Order, Pfn};
use crate::frame::{MigrateType, Pageblock, ZoneId};
use crate::port::Machine;

impl<M: Machine> Phys<M> {
    /// Copies the first frames of a free list to `out`, first to last, and returns how many there were room for.
    /// Deferred blocks are on no list.
    pub fn free_list(&self, zone: ZoneId, order: Order, mt: MigrateType, out: &mut [Pfn]) -> usize {
        let (Some(layout), Some(zone)) = (self.layout.get(), self.zone(zone)) else { return 0 };
        let inner = zone.lock(self.machine.cpu());
        let frames = inner.lists.list(order, mt).iter(&layout.ground.table);
        out.iter_mut().zip(frames).map(|(slot, idx)| *slot = idx.pfn()).count()
    }

    /// How many pageblocks of a zone have each migrate type, in the order of [`MigrateType::ALL`]. Those that were
    /// not taken in are movable.
    pub fn pageblock_counts(&self, zone: ZoneId) -> [u64; MigrateType::COUNT] {
        let mut counts = [0; MigrateType::COUNT];
        let (Some(layout), Some(zone)) = (self.layout.get(), self.zone(zone)) else { return counts };
        let (facts, ground) = (zone.facts(), &layout.ground);
        let mut next = 0;
        for run in ground.memory_runs(facts.id.node) {
            let run = run.clamp(facts.limits.start, facts.limits.end);
            // Two runs may share a pageblock.
            let first = (run.start >> Order::PAGEBLOCK.get()).max(next);
            next = run.end.div_ceil(Order::PAGEBLOCK.pages() as u32).max(first);
            for number in first..next {
                let block = ground.table.pageblock(number << Order::PAGEBLOCK.get());
                let mt = block.filter(|block| block.is_taken_in()).map(Pageblock::migrate_type);
                if let Some(count) = counts.get_mut(mt.unwrap_or(MigrateType::Movable).index()) {
                    *count += 1;
                }
            }
        }
        counts
    }

    /// The pageblock around a frame, if it was taken in.
    pub fn pageblock(&self, pfn: Pfn) -> Option<Pageblock> {
        self.layout.get()?.ground.table.lookup(pfn).map(|(_, block)| block)
    }
}
