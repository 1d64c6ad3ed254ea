//! The states of one CPU: counts of its tasks, and how long they were so.

use super::KINDS;

/// How many tasks more or fewer of a CPU do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TaskChange {
    /// Run, or could.
    pub running: i32,
    /// Wait for memory, or make room for themselves.
    pub stalled: i32,
    /// Both: they make room.
    pub stalled_running: i32,
}

/// Time that passed, in nanoseconds: in each state, and in which the CPU was not idle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Times {
    pub(super) kinds: [u64; KINDS],
    pub(super) busy: u64,
}

/// See the module documentation.
pub(super) struct CpuStates {
    running: i32,
    stalled: i32,
    stalled_running: i32,
    /// Since when the counts are as they are.
    since: u64,
    /// What nobody has collected yet.
    times: Times,
}

impl CpuStates {
    pub(super) const NEW: Self = Self {
        running: 0,
        stalled: 0,
        stalled_running: 0,
        since: 0,
        times: Times { kinds: [0; KINDS], busy: 0 },
    };

    /// The counts have been what they are until `now`.
    fn account(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since);
        self.since = now.max(self.since);
        let some = self.stalled > 0;
        let full = some && self.running == self.stalled_running;
        for (time, holds) in self.times.kinds.iter_mut().zip([some, full]) {
            *time += if holds { passed } else { 0 };
        }
        if some || self.running > 0 {
            self.times.busy += passed;
        }
    }

    pub(super) fn change(&mut self, now: u64, change: TaskChange) {
        self.account(now);
        self.running += change.running;
        self.stalled += change.stalled;
        self.stalled_running += change.stalled_running;
    }

    /// The times since they were taken last.
    pub(super) fn take(&mut self, now: u64) -> Times {
        self.account(now);
        core::mem::take(&mut self.times)
    }
}
