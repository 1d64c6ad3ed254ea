//! Pressure: how much time tasks lose because memory is short (Linux `kernel/sched/psi.c`, 6.18).
//!
//! Owns: what each CPU's tasks do, the time that passed so, averages, triggers. Stays outside: when a task begins and
//! ends to wait for memory (whoever makes it wait), which tasks run (the scheduler), and texts.
//!
//! A CPU is in the state *some* while at least one of its tasks waits for memory, *full* while in addition none does
//! anything else. The time of a CPU counts by how much of the time it was not idle. Invariants: the counts of a CPU
//! change under its lock, together with the time that the old ones lasted; totals never fall.
//!
//! | file | job |
//! |---|---|
//! | `cpu` | the states of one CPU and their time |
//! | `average` | the averages over 10, 60 and 300 seconds |
//! | `trigger` | telling somebody when it was too much within a window |

mod average;
mod cpu;
mod trigger;

use crate::port::{Cpu, CpuId};
use crate::sync::SpinLock;
use average::Averages;
pub use average::{Pressure, Share};
use cpu::CpuStates;
pub use cpu::TaskChange;
pub use trigger::{Bad, Trigger};

/// CPUs that are counted.
const CPUS: usize = crate::phys::MAX_CPUS;
/// Kinds of states that are shown.
const KINDS: usize = 2;

/// How much is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// At least one task waits.
    Some,
    /// All tasks wait.
    Full,
}

/// The pressure of one resource.
pub struct Psi {
    cpus: [SpinLock<CpuStates>; CPUS],
    averages: SpinLock<Averages>,
}

impl Psi {
    /// Nobody waits, and no time has passed.
    #[must_use]
    pub const fn new() -> Self {
        Self { cpus: [const { SpinLock::new(CpuStates::NEW) }; CPUS], averages: SpinLock::new(Averages::NEW) }
    }

    /// What tasks of CPU `id` do has changed (Linux `psi_group_change`). The time is that of `cpu`.
    pub fn change(&self, cpu: &impl Cpu, id: CpuId, change: TaskChange) {
        let states = self.cpus.get(id.0 as usize);
        states.into_iter().for_each(|states| states.lock(cpu).change(cpu.now(), change));
    }

    /// The pressure up to now (Linux `psi_show`).
    pub fn pressure(&self, cpu: &impl Cpu) -> [Pressure; KINDS] {
        let now = cpu.now();
        let mut averages = self.averages.lock(cpu);
        averages.collect(self.cpus.iter().map(|states| states.lock(cpu).take(now)));
        averages.update(now);
        averages.pressure()
    }

    /// The time lost up to now, in nanoseconds, for [`Trigger::update`].
    pub fn total(&self, cpu: &impl Cpu, kind: Kind) -> u64 {
        let now = cpu.now();
        let mut averages = self.averages.lock(cpu);
        averages.collect(self.cpus.iter().map(|states| states.lock(cpu).take(now)));
        averages.total(kind)
    }
}

impl Default for Psi {
    fn default() -> Self {
        Self::new()
    }
}
