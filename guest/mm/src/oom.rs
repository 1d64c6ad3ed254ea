//! Who goes when memory is out: how bad each context is, and the worst of them (Linux `mm/oom_kill.c`, 6.18).
//!
//! Owns: the formulas. Stays outside: when memory is out (reclaim), what contexts there are, and ending one (the guest).
//! Invariants: a context whose adjustment is [`ADJ_MIN`] is never chosen; of two that are equally bad the later one goes,
//! as Linux does, whose list of processes is in the order of their making.

/// The adjustment of a context that must not be killed (Linux `OOM_SCORE_ADJ_MIN`).
pub const ADJ_MIN: i32 = -1000;
/// The largest adjustment: of equals, this one goes (Linux `OOM_SCORE_ADJ_MAX`).
pub const ADJ_MAX: i32 = 1000;

/// What is known of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Candidate {
    /// Resident pages.
    pub rss: u64,
    /// Pages in swap.
    pub swapents: u64,
    /// Pages of its page tables.
    pub tables: u64,
    /// Thousandths of all memory that count as its own beside that (`oom_score_adj`).
    pub adj: i32,
    /// How little its work matters, -20 to 19.
    pub nice: i32,
    /// For how long it has run, in seconds.
    pub run_time: u64,
}

/// How the worst is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// By memory and adjustment alone.
    Badness,
    /// The same, and before Linux 2.6.36: who is nice counts twice, who has run for long counts less.
    Legacy,
}

/// The square root, rounded down.
const fn int_sqrt(n: u64) -> u64 {
    n.isqrt()
}

impl Policy {
    /// How bad a context is where all memory and swap are `total` pages; `None` if it must not be killed (Linux
    /// `oom_badness`).
    #[must_use]
    pub fn badness(self, of: &Candidate, total: u64) -> Option<i64> {
        if of.adj <= ADJ_MIN {
            return None;
        }
        let mut points = (of.rss + of.swapents + of.tables) as i64;
        if self == Self::Legacy {
            // The units of Linux 2.6.35: about 1000 seconds, and the fourth root of that.
            let long = int_sqrt(int_sqrt(of.run_time >> 10)).max(1);
            points /= long as i64;
            if of.nice > 0 {
                points *= 2;
            }
        }
        Some(points + i64::from(of.adj) * (total as i64 / 1000))
    }

    /// The number in `/proc/PID/oom_score` (Linux `proc_oom_score`): 0 for a context that must not be killed, about 667
    /// for one without memory, 1333 for one that has all.
    #[must_use]
    pub fn score(self, of: &Candidate, total: u64) -> i64 {
        let thousandths = |points: i64| (1000 + points * 1000 / (total.max(1) as i64)) * 2 / 3;
        self.badness(of, total).map_or(0, thousandths)
    }

    /// The worst of `all`, which come in the order of their making (Linux `select_bad_process`).
    pub fn select<T>(self, all: impl Iterator<Item = (T, Candidate)>, total: u64) -> Option<T> {
        let mut worst: Option<(T, i64)> = None;
        for (who, candidate) in all {
            let Some(points) = self.badness(&candidate, total) else { continue };
            if worst.as_ref().is_none_or(|(_, most)| points >= *most) {
                worst = Some((who, points));
            }
        }
        worst.map(|(who, _)| who)
    }
}
