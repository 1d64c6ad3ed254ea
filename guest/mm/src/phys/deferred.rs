//! Free 4 MiB blocks that are not on a free list yet.
//!
//! Owns: how far a zone has come. At boot nothing is done for them, so a boot with 16 GiB costs what one with
//! 256 MiB costs; a block is taken in when the lists run dry, or by an idle CPU. They are counted as free movable
//! blocks of the largest order all the time, so every statistic is exact. Invariants: blocks are taken in
//! ascending order; all of them are whole, free and of one node. Source: Linux `mm/mm_init.c` (deferred init).

use super::buddy::{Buddy, Place};
use super::ground::{Ground, Run};
use super::zone::ZoneFacts;
use crate::addr::Order;
use crate::frame::MigrateType;
use crate::mutant::planted;

/// See the module documentation.
#[derive(Default)]
pub(super) struct Deferred {
    /// Blocks left.
    blocks: u32,
    /// What is left of the run that is being taken in.
    run: Run,
}

impl Deferred {
    /// Nothing is deferred.
    pub(super) const NONE: Self = Self { blocks: 0, run: Run { start: 0, end: 0 } };

    /// Everything whole in the zone is deferred.
    pub(super) fn all_of(facts: &ZoneFacts, ground: &Ground) -> Self {
        let pages: u64 = whole_runs(facts, ground).map(Run::pages).sum();
        // Frame numbers fit 32 bits, so block numbers do.
        Self { blocks: (pages / Order::MAX.pages()) as u32, run: Run::default() }
    }

    /// Blocks that are still deferred.
    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Puts the next block on its free list, where it is counted already. Whether there was one.
    pub(super) fn take_in(&mut self, buddy: &mut Buddy<'_>, facts: &ZoneFacts, ground: &Ground) -> bool {
        if self.blocks == 0 {
            return false;
        }
        if self.run.pages() == 0 {
            let done = self.run.end;
            match whole_runs(facts, ground).find(|run| run.end > done) {
                Some(run) => self.run = run,
                None => return false,
            }
        }
        let Some(idx) = ground.table.take_in(self.run.start, facts.id) else { return false };
        self.run.start += Order::MAX.pages() as u32;
        self.blocks -= u32::from(!planted("zones.deferred_twice"));
        buddy.link(idx, Order::MAX, MigrateType::Movable, Place::Back);
        true
    }
}

/// The free whole blocks of a zone.
fn whole_runs<'a>(facts: &'a ZoneFacts, ground: &'a Ground) -> impl Iterator<Item = Run> + use<'a> {
    ground
        .free_runs(facts.id.node)
        .map(|run| run.clamp(facts.limits.start, facts.limits.end).split_at_blocks().1)
        .filter(|run| run.pages() > 0)
}
