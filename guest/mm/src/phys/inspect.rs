//! Looking at free lists, pageblocks and blocks, for `/proc/pagetypeinfo` and the like.
//!
//! Owns: snapshots. Invariants: looking changes nothing and allocates nothing.

use super::zone::explain;
use super::{FreeError, Phys};
use crate::addr::{Order, Pfn};
use crate::frame::{Kind, MigrateType, Owner, Pageblock, ZoneId};
use crate::port::Machine;

/// What somebody can do with a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FolioState {
    /// Nothing: the frame was never given to the allocator.
    Reserved,
    /// It is on a free list, of the zone or of a CPU.
    Free,
    /// Somebody holds it.
    Allocated,
}

/// The block around a frame, as it was a moment ago (Linux `page_folio`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Folio {
    /// Its first frame.
    pub head: Pfn,
    /// Its order; 0 for a reserved frame.
    pub order: Order,
    /// Who has it.
    pub state: FolioState,
    /// The list it is on, or that it was allocated for; of a reserved frame, that of its pageblock.
    pub migrate_type: MigrateType,
    /// Its zone.
    pub zone: ZoneId,
    /// Whether it is a part of a private arena.
    pub in_arena: bool,
}

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

    /// The block around a frame; `None` if the 4 MiB block around it has no RAM, or is still deferred.
    pub fn folio(&self, pfn: Pfn) -> Option<Folio> {
        let table = &self.layout.get()?.ground.table;
        let pageblock =
            table.pageblock(u32::try_from(pfn.get()).ok()?).filter(|block| block.is_taken_in())?;
        // Frame 0 has no index; it is always reserved.
        let covering = table.lookup(pfn).and_then(|(idx, _)| {
            Order::all().find_map(|order| {
                let start = idx.block_start(order)?;
                let state = table.frame(start).state();
                (state.kind() != Kind::Reserved && state.order() >= order).then_some((start, state))
            })
        });
        let zone = pageblock.zone();
        let Some((start, state)) = covering else {
            let (order, migrate_type) = (Order::ZERO, pageblock.migrate_type());
            let state = FolioState::Reserved;
            return Some(Folio { head: pfn, order, state, migrate_type, zone, in_arena: false });
        };
        Some(Folio {
            head: start.pfn(),
            order: state.order(),
            state: if state.kind() == Kind::Allocated { FolioState::Allocated } else { FolioState::Free },
            migrate_type: state.migrate_type(),
            zone,
            in_arena: state.owner() == Owner::Arena,
        })
    }

    /// What [`Phys::free_pages`] would say to a block of `order` at `pfn`, without taking it back.
    ///
    /// # Errors
    /// [`FreeError`].
    pub fn check_free(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let layout = self.layout.get().ok_or(FreeError::BadPfn(pfn))?;
        let (idx, block) = layout.ground.table.lookup(pfn).ok_or(FreeError::BadPfn(pfn))?;
        let zone = layout.zone(block.zone());
        let mut inner = zone.lock(self.machine.cpu());
        let buddy = zone.buddy(&mut inner.lists, &layout.ground);
        let state = buddy.table.frame(idx).state();
        state.release(order, Owner::Zone).map_err(|refused| explain(&buddy, idx, refused))
    }
}
