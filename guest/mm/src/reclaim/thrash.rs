//! Whether memory is too small for what is used at a time: pages go and come back, and little else happens.
//!
//! Linux counts all of this and draws no conclusion. The verdict is the one that its users draw from
//! `workingset_refault_*` and PSI *full*.

use crate::vmstat::{NodeStat, VmEvent, VmStat};

/// Of a hundred pages that were taken so many came back.
const REFAULT_PERCENT: u64 = 50;
/// Of a thousand parts of the time nobody did anything but wait for memory in so many.
const FULL_PERMILLE: u64 = 50;
/// With fewer refaults nothing is said.
const MIN_REFAULTS: u64 = 1024;

/// What went and what came back in a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Pages that were taken away.
    pub evictions: u64,
    /// Pages that came back.
    pub refaults: u64,
    /// Those of them that had been in use again and again before.
    pub restores: u64,
}

impl Traffic {
    /// All of it since boot.
    #[must_use]
    pub fn of(stat: &VmStat) -> Self {
        let sum = |stats: [NodeStat; 2]| stats.into_iter().map(|which| stat.total(which)).sum();
        Self {
            evictions: stat.event(VmEvent::PgStealAnon) + stat.event(VmEvent::PgStealFile),
            refaults: sum([NodeStat::RefaultAnon, NodeStat::RefaultFile]),
            restores: sum([NodeStat::RestoreAnon, NodeStat::RestoreFile]),
        }
    }

    /// What is more than `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            evictions: self.evictions - before.evictions,
            refaults: self.refaults - before.refaults,
            restores: self.restores - before.restores,
        }
    }

    /// Whether that is thrashing, if `full` thousandths of the while were lost.
    #[must_use]
    pub const fn is_thrashing(&self, full: u64) -> bool {
        self.refaults >= MIN_REFAULTS
            && self.refaults * 100 >= self.evictions * REFAULT_PERCENT
            && full >= FULL_PERMILLE
    }
}
