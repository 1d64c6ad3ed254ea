//! Executable invariants of the allocator: what must hold between any two calls.
//!
//! Owns: the checks and the name of the first one that fails. Invariants: verifying changes nothing; it holds the
//! lock of one zone at a time and touches only descriptors of blocks that were taken in.

use super::buddy::Buddy;
use super::ground::{Ground, Run};
use super::zone::{Inner, Zone};
use super::{Phys, layout::Layout};
use crate::addr::{Order, Pfn};
use crate::frame::{FrameIdx, Kind, MigrateType, Owner, State, ZoneId};
use crate::port::{Cpu, Machine};
use core::fmt;

#[cfg(test)]
mod tests;

/// What must hold of every free block, list and counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// A block starts at a multiple of its size.
    Aligned,
    /// A block lies in its zone.
    InZone,
    /// The descriptor of a listed block says that it is free, with the order and type of the list.
    StateMatchesList,
    /// The pageblock of a listed block has the type of the list.
    TypeMatchesPageblock,
    /// Neighbours on a list point at each other.
    Linked,
    /// The mask of non-empty lists is right.
    MaskMatchesList,
    /// No other block covers the block.
    Disjoint,
    /// The buddy of a free block is not free.
    Merged,
    /// The counter of a list is its length.
    CountMatchesList,
    /// The free pages are the sum over all lists.
    SumMatchesFree,
    /// Every free head is on a list.
    EveryFreeHeadListed,
    /// The zone in the pageblock word is the one whose range the frames are in.
    ZoneMatchesRange,
    /// A block on a CPU's list is cached, with the order and type of the list, and in the zone of the list.
    CachedMatchesList,
    /// The length of a CPU's lists is their counter.
    CachedCount,
    /// Every cached head is on a CPU's list.
    EveryCachedHeadListed,
}

impl Rule {
    /// What is wrong when the rule does not hold.
    #[must_use]
    pub const fn broken(self) -> &'static str {
        match self {
            Self::Aligned => "block is not aligned to its size",
            Self::InZone => "block is outside of its zone",
            Self::StateMatchesList => "frame state does not match its free list",
            Self::TypeMatchesPageblock => "free list does not match the type of the pageblock",
            Self::Linked => "list links are broken",
            Self::MaskMatchesList => "mask of non-empty lists is wrong",
            Self::Disjoint => "blocks overlap",
            Self::Merged => "buddies are both free",
            Self::CountMatchesList => "block counter is not the length of the list",
            Self::SumMatchesFree => "sum of blocks is not nr_free",
            Self::EveryFreeHeadListed => "free block is on no list",
            Self::ZoneMatchesRange => "zone of the pageblock does not match its range",
            Self::CachedMatchesList => "frame state does not match its per-CPU list",
            Self::CachedCount => "per-CPU counter is not the length of its lists",
            Self::EveryCachedHeadListed => "cached block is on no per-CPU list",
        }
    }
}

/// The first rule that was found broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// In which zone.
    pub zone: ZoneId,
    /// At which block, if it is one block's fault.
    pub block: Option<(Pfn, Order)>,
    /// What does not hold.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.zone, self.rule.broken())?;
        match self.block {
            Some((pfn, order)) => write!(f, ", pfn={:#x} order={}", pfn.get(), order.get()),
            None => Ok(()),
        }
    }
}

/// A broken rule and the block, before the zone is added.
pub(super) type Broken = (Rule, Option<(FrameIdx, Order)>);

/// `Err` with the rule and the block unless `holds`.
fn rule(holds: bool, rule: Rule, idx: FrameIdx, order: Order) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err((rule, Some((idx, order)))) }
}

impl Buddy<'_> {
    /// Checks lists, masks and counters. `bounds` are the frames that may be on the lists; `unlisted` blocks of the
    /// largest order are counted as movable, but are on no list.
    pub(super) fn verify(&self, bounds: Run, unlisted: u32) -> Result<(), Broken> {
        let mut pages = u64::from(unlisted) * Order::MAX.pages();
        for mt in MigrateType::ALL {
            for order in Order::all() {
                let list = self.lists.list(order, mt);
                if let Some(idx) = list.broken_link(self.table, bounds.pages()) {
                    return Err((Rule::Linked, Some((idx, order))));
                }
                if (self.lists.orders(mt) >> order.get() & 1 == 0) != list.is_empty() {
                    return Err((Rule::MaskMatchesList, list.first().map(|idx| (idx, order))));
                }
                let mut length = 0;
                for idx in list.iter(self.table) {
                    self.verify_block(idx, order, mt, bounds)?;
                    length += 1;
                }
                pages += u64::from(length) * order.pages();
                if order == Order::MAX && mt == MigrateType::Movable {
                    length += unlisted;
                }
                if length != self.counts.blocks(order, mt) {
                    return Err((Rule::CountMatchesList, list.first().map(|idx| (idx, order))));
                }
            }
        }
        if pages == self.counts.pages() { Ok(()) } else { Err((Rule::SumMatchesFree, None)) }
    }

    /// Checks one listed block.
    fn verify_block(&self, idx: FrameIdx, order: Order, mt: MigrateType, bounds: Run) -> Result<(), Broken> {
        let end = u64::from(idx.get()) + order.pages();
        rule(idx.is_aligned(order), Rule::Aligned, idx, order)?;
        rule(idx.get() >= bounds.start && end <= u64::from(bounds.end), Rule::InZone, idx, order)?;
        let state = self.table.frame(idx).state();
        rule(state == State::free(order, mt, self.owner), Rule::StateMatchesList, idx, order)?;
        // In an arena the zone keeps the types of pageblocks.
        if self.owner == Owner::Zone {
            let last = Pfn::from_u32(end.saturating_sub(1) as u32);
            let same = |pfn| self.table.lookup(pfn).is_some_and(|(_, block)| block.migrate_type() == mt);
            rule(same(idx.pfn()) && same(last), Rule::TypeMatchesPageblock, idx, order)?;
        }
        let covered = Order::all().filter(|&larger| larger > order && larger <= self.top).any(|larger| {
            idx.block_start(larger).filter(|&start| start != idx).is_some_and(|start| {
                let state = self.table.frame(start).state();
                state.kind() != Kind::Reserved && u64::from(idx.get() - start.get()) < state.order().pages()
            })
        });
        rule(!covered, Rule::Disjoint, idx, order)?;
        let buddy =
            idx.buddy(order).filter(|_| order < self.top).map(|buddy| self.table.frame(buddy).state());
        let mergeable = buddy.is_some_and(|state| {
            let other = state.migrate_type();
            state.is_free_block(order, self.owner)
                && (other == mt || other.is_mergeable() && mt.is_mergeable())
        });
        rule(!mergeable, Rule::Merged, idx, order)
    }
}

impl Zone {
    /// Checks every rule of the zone.
    fn verify<C: Cpu>(&self, cpu: &C, ground: &Ground) -> Result<(), Violation> {
        let mut inner = self.lock(cpu);
        let Inner { lists, deferred } = &mut *inner;
        let buddy = self.buddy(lists, ground);
        let facts = *self.facts();
        buddy
            .verify(facts.limits, deferred.blocks())
            .and_then(|()| self.verify_heads(ground, deferred.blocks()))
            .map_err(|broken| violation(facts.id, broken))
    }

    /// Walks memory block by block: the free heads found must be as many as the lists hold.
    fn verify_heads(&self, ground: &Ground, unlisted: u32) -> Result<(), Broken> {
        let unlisted = u64::from(unlisted) * Order::MAX.pages();
        if self.pages_of_kind(ground, Kind::Free) + unlisted == self.free_pages() {
            Ok(())
        } else {
            Err((Rule::EveryFreeHeadListed, None))
        }
    }

    /// Pages in blocks whose heads say this, found by walking memory.
    pub(super) fn pages_of_kind(&self, ground: &Ground, kind: Kind) -> u64 {
        const BLOCK: u32 = Order::MAX.pages() as u32;
        let facts = self.facts();
        let (mut pages, mut next) = (0, 0);
        for run in ground.memory_runs(facts.id.node) {
            let run = run.clamp(facts.limits.start, facts.limits.end);
            // Two runs may share a 4 MiB block.
            let first = (run.start & !(BLOCK - 1)).max(next);
            for start in (first..run.end).step_by(BLOCK as usize) {
                next = start.saturating_add(BLOCK);
                for (_, state) in ground.table.heads(start, BLOCK) {
                    if state.kind() == kind && state.owner() == Owner::Zone {
                        pages += state.order().pages();
                    }
                }
            }
        }
        pages
    }
}

/// Adds the zone to a broken rule.
pub(super) fn violation(zone: ZoneId, (rule, block): Broken) -> Violation {
    Violation { zone, block: block.map(|(idx, order)| (idx.pfn(), order)), rule }
}

impl<M: Machine> Phys<M> {
    /// Checks that every free block is aligned, in its zone, on the right list, disjoint from all others and
    /// merged as far as possible, that every CPU's lists are whole, and that all counters are exact. Touches every
    /// taken-in block. With interrupts masked the lists of other CPUs are left out.
    ///
    /// # Errors
    /// The first [`Violation`]: memory is corrupted.
    pub fn verify(&self) -> Result<(), Violation> {
        let Some(layout) = self.layout.get() else { return Ok(()) };
        self.populated_zones().try_for_each(|zone| zone.verify(self.machine.cpu(), &layout.ground))?;
        self.verify_cached(layout)
    }

    /// Checks that the zone and node of every pageblock that was taken in are those that its frame numbers belong
    /// to, and returns how many pageblocks that were.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn verify_zones(&self) -> Result<u64, Violation> {
        let Some(layout) = self.layout.get() else { return Ok(0) };
        let mut checked = 0;
        for start in (0..layout.ground.table.end()).step_by(Order::PAGEBLOCK.pages() as usize) {
            let Some(block) = layout.ground.table.pageblock(start).filter(|block| block.is_taken_in()) else {
                continue;
            };
            let zone = block.zone();
            if !belongs(layout, zone, start) {
                let block = Some((Pfn::from_u32(start), Order::PAGEBLOCK));
                return Err(Violation { zone, block, rule: Rule::ZoneMatchesRange });
            }
            checked += 1;
        }
        Ok(checked)
    }
}

/// Whether the pageblock at `start` is in a 4 MiB block that has RAM of the zone.
fn belongs(layout: &Layout, id: ZoneId, start: u32) -> bool {
    const BLOCK: u32 = Order::MAX.pages() as u32;
    let limits = layout.zone(id).facts().limits;
    let (first, end) = (start & !(BLOCK - 1), (start | (BLOCK - 1)).saturating_add(1));
    first >= limits.start
        && end <= limits.end
        && layout.ground.memory_runs(id.node).any(|run| run.clamp(first, end).pages() > 0)
}
