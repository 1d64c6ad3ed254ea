//! Pageblocks held back for allocations of several pages that cannot wait.
//!
//! Owns: when a pageblock is held back and when it is let go. Invariants: at most 1 % of a zone, in whole pageblocks;
//! nothing in a zone where that is less than one. Source: Linux 6.18 `mm/page_alloc.c`
//! (`reserve_highatomic_pageblock`, `unreserve_highatomic_pageblock`).

use super::ground::Ground;
use super::zone::Zone;
use crate::addr::Order;
use crate::frame::{FrameIdx, MigrateType};
use crate::port::Cpu;

const PAGEBLOCK: u64 = Order::PAGEBLOCK.pages();

impl Zone {
    /// Holds back the pageblock that a block was just allocated from, if there is room in the reserve.
    pub(super) fn hold_back<C: Cpu>(&self, cpu: &C, ground: &Ground, idx: FrameIdx, order: Order) {
        let share = self.managed_pages() / 100;
        if share < PAGEBLOCK || self.marks.highatomic() >= share.next_multiple_of(PAGEBLOCK) {
            return;
        }
        let mut inner = self.lock(cpu);
        let mut buddy = self.buddy(&mut inner.lists, ground);
        let mt = buddy.table.migrate_type(idx);
        if self.marks.highatomic() >= share.next_multiple_of(PAGEBLOCK) || !mt.is_mergeable() {
            return;
        }
        if order < Order::PAGEBLOCK {
            buddy.move_pageblock(idx, mt, MigrateType::HighAtomic);
        } else {
            buddy.table.set_migrate_type(idx, order, MigrateType::HighAtomic);
        }
        self.marks.set_highatomic(self.marks.highatomic() + order.pages().max(PAGEBLOCK));
    }

    /// Lets one pageblock go, for allocations of type `mt`. Whether there was one.
    pub(super) fn let_go<C: Cpu>(&self, cpu: &C, ground: &Ground, mt: MigrateType) -> bool {
        if self.marks.highatomic() == 0 {
            return false;
        }
        let mut inner = self.lock(cpu);
        let mut buddy = self.buddy(&mut inner.lists, ground);
        let Some((order, idx)) = buddy.smallest(Order::ZERO, MigrateType::HighAtomic) else { return false };
        if order < Order::PAGEBLOCK {
            buddy.move_pageblock(idx, MigrateType::HighAtomic, mt);
        } else {
            buddy.unlink(idx, order, MigrateType::HighAtomic);
            buddy.table.set_migrate_type(idx, order, mt);
            // The type has kept it apart from its buddy.
            buddy.give(idx, order, mt, &mut |_| {});
        }
        self.marks.set_highatomic(self.marks.highatomic().saturating_sub(order.pages().max(PAGEBLOCK)));
        true
    }
}
