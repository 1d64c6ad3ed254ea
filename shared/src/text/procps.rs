//! The table of `vmstat`, as procps 4.0 prints it from `/proc/stat`, `/proc/meminfo` and `/proc/vmstat`.

use super::meminfo::Meminfo;
use super::names::{VM_EVENTS, position};
use super::stat;
use super::vmstat::Vmstat;
use crate::stats::{TaskGroup, TrapGroup};
use core::fmt;

/// The lines above the numbers.
pub const HEAD: &str = "\
procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----
 r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st
";

/// Ticks of `/proc/stat` in a second.
const HZ: u64 = 100;
const NS_PER_S: u64 = 1_000_000_000;
const PAGE_KB: u64 = 4;

const fn place(name: &str) -> usize {
    match position(&VM_EVENTS, name) {
        Some(place) => place,
        None => panic!("no such counter"),
    }
}

/// What the lines are made of: what there is, and counts since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Tasks that run or could, and tasks that wait for disks.
    pub tasks: [u64; 2],
    /// Swap in use, free memory, buffers, and the page cache with what shrinkers can free, in KiB.
    pub memory: [u64; 4],
    /// KiB that came from swap and went there.
    pub swapped: [u64; 2],
    /// KiB that came from disks and went there.
    pub moved: [u64; 2],
    /// Interrupts and switches between tasks.
    pub events: [u64; 2],
    /// Ticks of all CPUs: user, system, idle, waiting for disks, stolen.
    pub ticks: [u64; 5],
}

impl Sample {
    /// From what the texts of a machine with `cpus` CPUs are made of.
    #[must_use]
    pub fn new(cpus: u64, tasks: &TaskGroup, traps: &TrapGroup, memory: &Meminfo, counts: &Vmstat) -> Self {
        let count = |place: usize| counts.events.get(place).copied().unwrap_or(0);
        let (system, idle) = stat::ticks(tasks, cpus);
        Self {
            tasks: [tasks.running, 0],
            memory: [
                memory.swap_total.saturating_sub(memory.swap_free),
                memory.mem_free,
                memory.buffers,
                memory.cached.wrapping_add(memory.sreclaimable),
            ],
            swapped: const { [place("pswpin"), place("pswpout")] }.map(|place| count(place) * PAGE_KB),
            moved: const { [place("pgpgin"), place("pgpgout")] }.map(count),
            events: [stat::interrupts(traps), tasks.switches],
            ticks: [0, system, idle, 0, 0],
        }
    }

    /// Writes the line of averages since boot. As in procps a second has as many ticks as all CPUs have together.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_since_boot(&self, w: &mut dyn fmt::Write) -> fmt::Result {
        let all = self.ticks.iter().sum::<u64>().max(1);
        self.write(w, self, &|count| (count * HZ + all / 2) / all)
    }

    /// Writes the line of what happened since `before`, which was `ns` nanoseconds earlier.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_since(&self, w: &mut dyn fmt::Write, before: &Self, ns: u64) -> fmt::Result {
        let less = |now: u64, before: u64| now.saturating_sub(before);
        let mut since = *self;
        since.swapped.iter_mut().zip(before.swapped).for_each(|(now, before)| *now = less(*now, before));
        since.moved.iter_mut().zip(before.moved).for_each(|(now, before)| *now = less(*now, before));
        since.events.iter_mut().zip(before.events).for_each(|(now, before)| *now = less(*now, before));
        since.ticks.iter_mut().zip(before.ticks).for_each(|(now, before)| *now = less(*now, before));
        let ns = ns.max(1);
        self.write(w, &since, &|count| (count * NS_PER_S + ns / 2) / ns)
    }

    /// Writes what there is, and what happened as `since` says, made a second's by `rate`.
    fn write(&self, w: &mut dyn fmt::Write, since: &Self, rate: &dyn Fn(u64) -> u64) -> fmt::Result {
        let [running, blocked] = self.tasks;
        let [swap, free, buffers, cache] = self.memory;
        let [si, so] = since.swapped.map(rate);
        let [bi, bo] = since.moved.map(rate);
        let [interrupts, switches] = since.events.map(rate);
        let ticks = match since.ticks {
            // Without a tick, as idle.
            [0, 0, 0, 0, 0] => [0, 0, 1, 0, 0],
            ticks => ticks,
        };
        let all = ticks.iter().sum::<u64>();
        let [user, system, idle, wait, stolen] = ticks.map(|ticks| (100 * ticks + all / 2) / all);
        write!(
            w,
            "{running:2} {blocked:2} {swap:6} {free:6} {buffers:6} {cache:6} {si:4} {so:4} {bi:5} {bo:5} "
        )?;
        writeln!(w, "{interrupts:4} {switches:4} {user:2} {system:2} {idle:2} {wait:2} {stolen:2}")
    }
}
