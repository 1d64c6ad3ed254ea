//! How many threads write behind where they are common to all disks (Linux `mm/pdflush.c`, up to 2.6.31).
//!
//! Owns: the count, and since when all have been busy. Stays outside: the threads, and what they do. Invariants: there are never
//! fewer than the least number once they were started, and never more than the most; one more comes when all have been busy for
//! a second and something is left to do, one goes when it had nothing to do for a second.

use crate::port::Cpu;
use crate::sync::SpinLock;

/// How long threads are busy, or idle, before their number changes.
const PATIENCE: u64 = 1_000_000_000;

#[derive(Clone, Copy)]
struct State {
    least: u32,
    most: u32,
    threads: u32,
    busy: u32,
    /// Since when nobody is idle.
    full_since: Option<u64>,
}

impl State {
    fn note(&mut self, now: u64) {
        self.full_since = (self.busy >= self.threads).then(|| self.full_since.unwrap_or(now));
    }
}

/// See the module documentation.
pub struct Pool(SpinLock<State>);

impl Pool {
    /// No threads.
    #[must_use]
    pub const fn new() -> Self {
        Self(SpinLock::new(State { least: 0, most: 0, threads: 0, busy: 0, full_since: None }))
    }

    /// There shall be so many; the caller starts as many as this says.
    pub fn open(&self, cpu: &impl Cpu, least: u32, most: u32) -> u32 {
        let mut state = self.0.lock(cpu);
        let missing = least.saturating_sub(state.threads);
        (state.least, state.most, state.threads) = (least, most.max(least), state.threads.max(least));
        missing
    }

    /// A thread begins to work.
    pub fn begins(&self, cpu: &impl Cpu, now: u64) {
        let mut state = self.0.lock(cpu);
        state.busy += 1;
        state.note(now);
    }

    /// It has nothing to do any more.
    pub fn ends(&self, cpu: &impl Cpu) {
        let mut state = self.0.lock(cpu);
        state.busy = state.busy.saturating_sub(1);
        state.full_since = None;
    }

    /// Something is left to do: whether the caller starts one more thread for it.
    #[must_use = "it is counted already"]
    pub fn grows(&self, cpu: &impl Cpu, now: u64) -> bool {
        let mut state = self.0.lock(cpu);
        let is_long = state.full_since.is_some_and(|since| now.saturating_sub(since) >= PATIENCE);
        if !is_long || state.threads >= state.most {
            return false;
        }
        state.threads += 1;
        state.full_since = None;
        true
    }

    /// A thread that has been idle since then: whether it goes.
    #[must_use = "it is not counted any more"]
    pub fn shrinks(&self, cpu: &impl Cpu, now: u64, idle_since: u64) -> bool {
        let mut state = self.0.lock(cpu);
        let goes = now.saturating_sub(idle_since) >= PATIENCE && state.threads > state.least;
        if goes {
            state.threads -= 1;
            state.note(now);
        }
        goes
    }

    /// A thread that was counted could not be started.
    pub fn lost(&self, cpu: &impl Cpu) {
        let mut state = self.0.lock(cpu);
        state.threads = state.threads.saturating_sub(1);
    }

    /// How many there are (`nr_pdflush_threads`).
    pub fn threads(&self, cpu: &impl Cpu) -> u32 {
        self.0.lock(cpu).threads
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}
