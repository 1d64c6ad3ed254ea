//! Allocating from blocks of another migrate type.
//!
//! Owns: the order of fallbacks and the decision between claiming a whole pageblock and stealing one block from
//! it. Invariants: all free blocks of a pageblock are on lists of the pageblock's type. Source: Linux 6.18
//! `mm/page_alloc.c` (`fallbacks`, `__rmqueue_claim`, `try_to_claim_block`, `__rmqueue_steal`).

use super::buddy::{Buddy, Place};
use super::step::Step;
use crate::addr::Order;
use crate::frame::{FrameIdx, Kind, MigrateType};

/// Where pages of type `mt` come from when its own lists are empty, best first.
const fn fallbacks(mt: MigrateType) -> &'static [MigrateType] {
    match mt {
        MigrateType::Unmovable => &[MigrateType::Reclaimable, MigrateType::Movable],
        MigrateType::Movable => &[MigrateType::Reclaimable, MigrateType::Unmovable],
        MigrateType::Reclaimable => &[MigrateType::Unmovable, MigrateType::Movable],
        MigrateType::HighAtomic | MigrateType::Isolate => &[],
    }
}

/// Whether a block of `order` is worth turning its pageblock into one of type `mt`. Unmovable pages always are:
/// they should stay together.
const fn worth_claiming(order: Order, mt: MigrateType) -> bool {
    !matches!(mt, MigrateType::Movable) || order.get() >= Order::PAGEBLOCK.get() / 2
}

impl Buddy<'_> {
    /// The first block of `order` of the best fallback type.
    fn fallback_block(&self, order: Order, mt: MigrateType) -> Option<(FrameIdx, MigrateType)> {
        let source =
            fallbacks(mt).iter().copied().find(|&from| self.lists.orders(from) >> order.get() & 1 != 0)?;
        Some((self.lists.list(order, source).first()?, source))
    }

    /// Allocates from the largest block of another type and makes its pageblock one of type `mt`, so that later
    /// allocations of this type stay together. `on_mix` is told when that is a pageblock in use: there pages of
    /// different types come together.
    pub(super) fn claim(
        &mut self,
        order: Order,
        mt: MigrateType,
        mut on_mix: impl FnMut(),
        trace: &mut impl FnMut(Step),
    ) -> Option<FrameIdx> {
        for size in Order::all().rev().take_while(|&size| size >= order && worth_claiming(size, mt)) {
            let Some((idx, source)) = self.fallback_block(size, mt) else { continue };
            if size >= Order::PAGEBLOCK {
                self.unlink(idx, size, source);
                self.table.set_migrate_type(idx, size, mt);
                self.expand(idx, size, order, mt, trace);
                return Some(self.hold(idx, order, mt));
            }
            on_mix();
            if self.claim_pageblock(idx, source, mt) {
                return self.take_smallest(order, mt, trace);
            }
        }
        None
    }

    /// Moves the pageblock around `idx` from type `source` to `mt`, if at least half of it is free or compatible.
    fn claim_pageblock(&mut self, idx: FrameIdx, source: MigrateType, mt: MigrateType) -> bool {
        const PAGES: u64 = Order::PAGEBLOCK.pages();
        let start = idx.get() & !(PAGES as u32 - 1);
        let (mut free, mut movable) = (0, 0);
        for (_, state) in self.table.heads(start, PAGES as u32) {
            match (state.kind(), state.migrate_type()) {
                (Kind::Free, _) if state.owner() == self.owner => free += state.order().pages(),
                (Kind::Allocated, MigrateType::Movable) => movable += state.order().pages(),
                _ => {}
            }
        }
        let alike = match (mt, source) {
            (MigrateType::Movable, _) => movable,
            // What is neither free nor movable is unmovable or reclaimable; that fits either.
            (_, MigrateType::Movable) => PAGES.saturating_sub(free + movable),
            // Unmovable and reclaimable pages cannot be told apart for certain.
            _ => 0,
        };
        if free + alike < PAGES / 2 {
            return false;
        }
        self.move_pageblock(idx, source, mt);
        true
    }

    /// Gives the pageblock around `idx` and its free blocks, none of which is larger, another type.
    pub(super) fn move_pageblock(&mut self, idx: FrameIdx, from: MigrateType, to: MigrateType) {
        const PAGES: u32 = Order::PAGEBLOCK.pages() as u32;
        let (table, owner) = (self.table, self.owner);
        table.set_migrate_type(idx, Order::PAGEBLOCK, to);
        for (idx, state) in table.heads(idx.get() & !(PAGES - 1), PAGES) {
            if state.kind() == Kind::Free && state.owner() == owner {
                self.unlink(idx, state.order(), from);
                self.put(idx, state.order(), to, Place::Back);
            }
        }
    }

    /// Allocates from the smallest block of another type and leaves the rest to that type.
    pub(super) fn steal(
        &mut self,
        order: Order,
        mt: MigrateType,
        trace: &mut impl FnMut(Step),
    ) -> Option<FrameIdx> {
        let (size, (idx, source)) = Order::all()
            .filter(|&size| size >= order)
            .find_map(|size| Some((size, self.fallback_block(size, mt)?)))?;
        self.unlink(idx, size, source);
        self.expand(idx, size, order, source, trace);
        Some(self.hold(idx, order, mt))
    }
}
