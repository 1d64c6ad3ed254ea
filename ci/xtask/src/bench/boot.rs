//! `bench boot`: how soon a machine speaks and serves, beside QEMU booting the same guest.
//!
//! Owns: the kinds of machine, the table and the limits. Stays outside: the clock (`watch`).
//! The kinds take turns, so that a slow moment of the machine meets all of them. Two things come from runs
//! of their own, because asking for them could cost time: the monitor's phases, and its memory.

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
/// Runs for the phases and for the memory.
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
    let mut slots = Vec::new();
    for memory in SIZES {
        slots.push(phases(&programs, memory)?);
    }
    let overhead = overhead(&programs)?;
    Ok(limits(&ours, &slots, overhead))
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

/// Prints the median of each phase of a start and returns that of creating the memory slots.
fn phases(programs: &Programs, memory: &str) -> Result<Option<Duration>> {
    let mut names: Vec<String> = Vec::new();
    let mut samples: Vec<Vec<Duration>> = Vec::new();
    for _ in 0..EXTRA_RUNS {
        let mut command = programs.vmm(memory, COMMAND);
        let seen = watch(command.arg("--stats"), MARKER, LIMIT, |_| {})?;
        for (name, time) in seen.output.lines().filter_map(phase) {
            match names.iter().position(|known| known == name) {
                Some(at) => samples[at].push(time),
                None => {
                    names.push(name.to_owned());
                    samples.push(vec![time]);
                }
            }
        }
    }
    let medians = samples.into_iter().map(|times| Spread::of(times).map_or(Duration::ZERO, |s| s.median));
    let phases: Vec<_> = names.into_iter().zip(medians).collect();
    let text: Vec<_> = phases.iter().map(|(name, time)| format!("{name} {:.2}", ms(*time))).collect();
    println!("phases of vmm, {memory}, ms: {}", text.join(", "));
    let is_slots = |name: &str| SLOT_PHASES.iter().any(|word| name.contains(word));
    Ok(phases.iter().find(|(name, _)| is_slots(name)).map(|(_, time)| *time))
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
fn limits(ours: &[&Cell], slots: &[Option<Duration>], overhead: u64) -> bool {
    let medians = |at: usize| ours.get(at).and_then(|cell| cell.medians()).unwrap_or_default();
    let ((_, small), (output, command), (_, large)) = (medians(0), medians(1), medians(2));
    let slot = |at: usize| slots.get(at).copied().flatten().unwrap_or_default();
    if slots.iter().any(Option::is_none) {
        println!("vmm --stats names no phase for KVM_SET_USER_MEMORY_REGION: nothing is subtracted");
    }
    let rest = |whole: Duration, slot: Duration| ms(whole.saturating_sub(slot));
    let ratio = rest(large, slot(2)) / rest(small, slot(0));
    println!(
        "KVM_SET_USER_MEMORY_REGION, ms: 256M {:.2}, 512M {:.2}, 16G {:.2}",
        ms(slot(0)),
        ms(slot(1)),
        ms(slot(2))
    );
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
