//! Moving blocks between per-CPU lists and the free lists of a zone, many under one lock.
//!
//! Owns: the two directions. Invariants: a refill takes the blocks that as many single allocations would take, in
//! that order; pages are counted as free exactly while they are on the zone's lists.
//! Source: Linux `mm/page_alloc.c` (`rmqueue_bulk`, `free_pcppages_bulk`).

use super::{Length, ListNo, Pageset};
use crate::addr::Order;
use crate::frame::{FrameChain, FrameIdx, MigrateType, State};
use crate::phys::buddy::Buddy;
use crate::phys::ground::Ground;
use crate::phys::watermark::AllocFlags;
use crate::phys::zone::Zone;
use crate::port::Cpu;

impl Buddy<'_> {
    /// Takes up to `want` blocks of `order` off the lists of `mt`, as that many calls of `take_smallest` would, and
    /// makes them cached blocks on `chain`. Returns how many.
    fn take_many(&mut self, order: Order, mt: MigrateType, want: u32, chain: &mut FrameChain) -> u32 {
        let mut left = want;
        while left > 0 {
            let Some((found, idx)) = self.smallest(order, mt) else { break };
            self.unlink(idx, found, mt);
            // The largest part that is wanted whole.
            let fits = Order::new(order.get() + left.ilog2()).unwrap_or(Order::MAX).min(found);
            self.expand(idx, found, fits, mt, &mut |_| {});
            self.counts.take_pages(fits.pages());
            let blocks = 1 << (fits.get() - order.get());
            for n in 0..blocks {
                let part = idx.inside(n << order.get());
                self.table.frame(part).set_state(State::cached(order, mt));
                chain.append(self.table, part);
            }
            left -= blocks;
        }
        want - left
    }
}

impl Zone {
    /// Fills an empty list and takes one block from it. Interrupts are masked.
    #[cold]
    #[inline(never)]
    pub(in crate::phys) fn refill<C: Cpu>(
        &self,
        cpu: &C,
        ground: &Ground,
        set: &Pageset,
        (list, order, mt): (ListNo, Order, MigrateType),
        flags: AllocFlags,
    ) -> Option<FrameIdx> {
        let want = set.blocks_to_fetch(order, self.marks.is_roomy());
        let mut chain = FrameChain::default();
        let mut inner = self.lock(cpu);
        let mut blocks = self.buddy(&mut inner.lists, ground).take_many(order, mt, want, &mut chain);
        if blocks == 0 {
            let idx = self.alloc_slow(&mut inner, ground, order, mt, flags, &mut |_| {})?;
            let mut buddy = self.buddy(&mut inner.lists, ground);
            buddy.table.frame(idx).set_state(State::cached(order, mt));
            chain.append(buddy.table, idx);
            // What the first one had to be taken from often has more.
            blocks = 1 + buddy.take_many(order, mt, want.saturating_sub(1), &mut chain);
        }
        set.fill(&ground.table, list, chain, blocks);
        set.pop(&ground.table, list, order)
    }

    /// Gives back what is too much on lists, those of `first` before others. Interrupts are masked.
    #[cold]
    #[inline(never)]
    pub(in crate::phys) fn spill<C: Cpu>(
        &self,
        cpu: &C,
        ground: &Ground,
        set: &Pageset,
        first: ListNo,
        length: Length,
    ) {
        let pages = set.pages_to_spill(length, self.marks.is_roomy());
        if pages > 0 {
            self.give_back(cpu, ground, set, first, pages);
            self.marks.look_again(self.free_pages());
        }
    }

    /// Gives back `pages` pages of a CPU's lists. Interrupts are masked.
    pub(in crate::phys) fn give_back<C: Cpu>(
        &self,
        cpu: &C,
        ground: &Ground,
        set: &Pageset,
        first: ListNo,
        pages: u32,
    ) {
        let mut inner = self.lock(cpu);
        let mut buddy = self.buddy(&mut inner.lists, ground);
        set.take_off(&ground.table, first, pages, |idx, order| {
            // Read under the lock: the type of a pageblock changes under it.
            let mt = buddy.table.migrate_type(idx);
            buddy.counts.give_pages(order.pages());
            buddy.give(idx, order, mt, &mut |_| {});
        });
    }
}
