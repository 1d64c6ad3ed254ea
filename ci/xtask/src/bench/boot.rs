//! `bench boot`: how soon a machine speaks and serves, beside QEMU booting the same guest.
//!
//! Owns: the kinds of machine, the table and the limits. Stays outside: the clock (`watch`).
//! The kinds take turns, so that a slow moment of the machine meets all of them. Two things come from runs
//! of their own, because asking for them could cost time: the monitor's phases, and its memory. What the memory
//! slots took is taken out of the run it was measured in: with 16 GiB it varies from run to run by several times the rest.

use std::iter;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::qemu::{self, Engine};
use super::stats::{Spread, ms};
use super::watch::{Seen, watch};
use super::{guest, guest::Programs, smaps};
use crate::repo::Repo;

const CPUS: u32 = 2;
const SIZES: [&str; 3] = ["256M", "512M", "16G"];
/// The first command, and what its output begins with.
const COMMAND: &str = "cat /proc/buddyinfo";
const MARKER: &str = "Node 0, zone";
/// Times the command is repeated where the machine must live long enough to be looked at.
const REPEATS: usize = 60;
/// Runs for the memory.
const EXTRA_RUNS: u32 = 5;
/// Words of which one is in the name of the phase that creates the memory slots.
const SLOT_PHASES: [&str; 2] = ["memslot", "user_memory_region"];
const LIMIT: Duration = Duration::from_secs(60);

/// Who boots the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Monitor {
    Vmm,
    Qemu(Engine),
}

const MONITORS: [(&str, Monitor); 3] = [
    ("vmm run", Monitor::Vmm),
    ("QEMU microvm, KVM", Monitor::Qemu(Engine::Kvm)),
    ("QEMU microvm, TCG", Monitor::Qemu(Engine::Tcg)),
];

impl Programs {
    fn vmm(&self, memory: &str, run: &str) -> Command {
        let mut command = Command::new(&self.vmm);
        command.args(["run", "--cpus", &CPUS.to_string(), "--mem", memory, "--run", run]);
        command
    }

    fn command(&self, monitor: Monitor, memory: &str) -> Command {
        match monitor {
            Monitor::Vmm => self.vmm(memory, COMMAND),
            Monitor::Qemu(engine) => qemu::microvm(engine, &self.elf, CPUS, memory, COMMAND),
        }
    }
}

/// One monitor with one size, and its times or why it has none.
struct Cell {
    name: &'static str,
    monitor: Monitor,
    memory: &'static str,
    first_output: Vec<Duration>,
    first_command: Vec<Duration>,
    error: Option<String>,
}

impl Cell {
    fn boot(&mut self, programs: &Programs) {
        if self.error.is_some() {
            return;
        }
        match watch(&mut programs.command(self.monitor, self.memory), MARKER, LIMIT, |_| {}) {
            Ok(Seen { status, .. }) if self.monitor == Monitor::Vmm && !status.success() => {
                self.error = Some(status.to_string());
            }
            Ok(seen) => {
                self.first_output.push(seen.first_output);
                self.first_command.push(seen.marker);
            }
            Err(error) => self.error = Some(format!("{error:#}")),
        }
    }

    fn medians(&self) -> Option<(Duration, Duration)> {
        let output = Spread::of(self.first_output.clone())?;
        Some((output.median, Spread::of(self.first_command.clone())?.median))
    }
}

/// Measures `runs` boots of each kind; false if a limit is missed.
pub fn run(repo: &Repo, runs: u32) -> Result<bool> {
    let programs = guest::build(repo)?;
    let mut cells = Vec::new();
    for memory in SIZES {
        for (name, monitor) in MONITORS {
            let (first_output, first_command) = (Vec::new(), Vec::new());
            cells.push(Cell { name, monitor, memory, first_output, first_command, error: None });
        }
    }
    for _ in 0..runs {
        cells.iter_mut().for_each(|cell| cell.boot(&programs));
    }
    table(&cells, runs);
    let ours: Vec<_> = cells.iter().filter(|cell| cell.monitor == Monitor::Vmm).collect();
    if let Some(cell) = ours.iter().find(|cell| cell.error.is_some()) {
        bail!("vmm with {} did not boot: {}", cell.memory, cell.error.as_deref().unwrap_or_default());
    }
    let mut starts = SIZES.map(Start::new);
    for _ in 0..runs {
        starts.iter_mut().try_for_each(|start| start.boot(&programs))?;
    }
    starts.iter().for_each(Start::print);
    let overhead = overhead(&programs)?;
    Ok(limits(&ours, &starts, overhead))
}

fn table(cells: &[Cell], runs: u32) {
    println!("boot: {runs} runs each, {CPUS} vCPUs, ms from process start (min, median, max)");
    println!("{:<18} {:>6} {:^27} {:^27}", "monitor", "memory", "first output", "first command");
    for Cell { name, memory, first_output, first_command, error, .. } in cells {
        match (Spread::of(first_output.clone()), Spread::of(first_command.clone()), error) {
            (Some(output), Some(command), None) => println!("{name:<18} {memory:>6}  {output}  {command}"),
            (_, _, error) => println!("{name:<18} {memory:>6}  {}", error.as_deref().unwrap_or("no run")),
        }
    }
}

/// Starts with one size whose phases are known.
struct Start {
    memory: &'static str,
    /// Of each phase, its name and its times.
    phases: Vec<(String, Vec<Duration>)>,
    /// Of each run, when the first command's output came.
    first_command: Vec<Duration>,
}

impl Start {
    fn new(memory: &'static str) -> Self {
        Self { memory, phases: Vec::new(), first_command: Vec::new() }
    }

    fn boot(&mut self, programs: &Programs) -> Result<()> {
        let mut command = programs.vmm(self.memory, COMMAND);
        let seen = watch(command.arg("--stats"), MARKER, LIMIT, |_| {})?;
        self.first_command.push(seen.marker);
        for (name, time) in seen.output.lines().filter_map(phase) {
            match self.phases.iter_mut().find(|(known, _)| known == name) {
                Some((_, times)) => times.push(time),
                None => self.phases.push((name.to_owned(), vec![time])),
            }
        }
        Ok(())
    }

    /// What creating the memory slots took in each run.
    fn slots(&self) -> Option<&[Duration]> {
        let is_slots = |name: &str| SLOT_PHASES.iter().any(|word| name.contains(word));
        self.phases.iter().find(|(name, _)| is_slots(name)).map(|(_, times)| times.as_slice())
    }

    /// The first command's time without that of creating the memory slots in the same run.
    fn rest(&self) -> Spread {
        let slots = self.slots().unwrap_or_default().iter().copied().chain(iter::repeat(Duration::ZERO));
        let rest = self.first_command.iter().zip(slots).map(|(whole, slot)| whole.saturating_sub(slot));
        Spread::of(rest.collect()).unwrap_or_default()
    }

    /// Prints the median of each phase.
    fn print(&self) {
        let median = |times: &[Duration]| Spread::of(times.to_vec()).unwrap_or_default().median;
        let text: Vec<_> =
            self.phases.iter().map(|(name, times)| format!("{name} {:.2}", ms(median(times)))).collect();
        println!("phases of vmm, {}, ms: {}", self.memory, text.join(", "));
    }
}

/// `time.NAME_us=N` as `vmm run --stats` prints it.
fn phase(line: &str) -> Option<(&str, Duration)> {
    let (name, us) = line.trim().strip_prefix("time.")?.split_once("_us=")?;
    Some((name, Duration::from_micros(us.parse().ok()?)))
}

/// The most memory the monitor held beside guest RAM at the first command, in kB.
fn overhead(programs: &Programs) -> Result<u64> {
    let mut most = None;
    let commands = vec![COMMAND; REPEATS].join(";");
    for _ in 0..EXTRA_RUNS {
        let mut at_marker = None;
        watch(&mut programs.vmm("512M", &commands), MARKER, LIMIT, |pid| at_marker = smaps::overhead(pid))?;
        most = most.max(at_marker);
    }
    match most {
        Some(kb) => Ok(kb),
        None => bail!("vmm ended before its memory could be read; raise REPEATS in bench/boot.rs"),
    }
}

/// Prints each limit with what was measured; false if one is missed.
fn limits(ours: &[&Cell], starts: &[Start; 3], overhead: u64) -> bool {
    let medians = |at: usize| ours.get(at).and_then(|cell| cell.medians()).unwrap_or_default();
    let (output, command) = medians(1);
    if starts.iter().any(|start| start.slots().is_none()) {
        println!("vmm --stats names no phase for KVM_SET_USER_MEMORY_REGION: nothing is subtracted");
    }
    for start in starts {
        let slots = Spread::of(start.slots().unwrap_or_default().to_vec()).unwrap_or_default();
        println!(
            "{:>6}, ms: KVM_SET_USER_MEMORY_REGION {slots}, first command without it {}",
            start.memory,
            start.rest()
        );
    }
    let [small, _, large] = starts.each_ref().map(|start| ms(start.rest().median));
    let ratio = large / small;
    let rows = [
        ("first output, 512M, median ms", ms(output), 8.0),
        ("first command, 512M, median ms", ms(command), 25.0),
        ("first command, 16G / 256M without memory slots", ratio, 1.5),
        ("vmm memory beside guest RAM, MiB", overhead as f64 / 1024.0, 5.0),
    ];
    let mut right = true;
    for (what, measured, limit) in rows {
        let verdict = if measured <= limit { "ok" } else { "MISS" };
        println!("{what:<48} {measured:>8.2}  limit {limit:>5.1}  {verdict}");
        right &= measured <= limit;
    }
    right
}

#[cfg(test)]
mod tests;
