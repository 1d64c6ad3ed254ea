//! `bench alloc-icount`: instructions per page allocation and free, counted by QEMU.
//!
//! One vCPU in ring 0 on `-cpu qemu64`, one nanosecond for each instruction, so the guest's own TSC
//! differences are instruction counts and repeat exactly on any machine. The peers were measured under the
//! same emulator with the same CPU model; `rep` string instructions count once for each iteration.
//!
//! Owns: the rows with their limits and peers, and the record of what was measured last, `tests/data/icount.tsv`. A
//! count that leaves the record by more than 2 % fails the check, better ones too: whoever changes the cost of an
//! operation measures it again and commits the new record.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::qemu::{self, Engine};
use super::{guest, record, watch};
use crate::repo::Repo;

/// What the guest runs, in order.
const COMMANDS: &[&str] = &["bench buddy"];
const LIMIT: Duration = Duration::from_secs(300);
/// What was measured last: a key and a count on each line.
const RECORD: &str = "tests/data/icount.tsv";
/// Part of a recorded count that a new one may differ by.
const TOLERANCE: f64 = 0.02;
/// The guest prints tenths; so small counts may differ by so much.
const RESOLUTION: f64 = 0.15;

/// What is measured: the key the guest prints, its name, the limit, and the peers (best of N) that have such an
/// operation.
struct Row {
    key: &'static str,
    name: &'static str,
    limit: f64,
    linux: Option<f64>,
    llfree: Option<f64>,
    buddy_system_allocator: Option<f64>,
}

/// In the order in which the guest prints them; the last key is the last thing it prints.
const ROWS: &[Row] = &[
    Row {
        key: "frame_init",
        name: "frame descriptor, initialise, per page",
        limit: 20.0,
        linux: Some(89.0),
        llfree: None,
        buddy_system_allocator: None,
    },
    Row {
        key: "order0_pair",
        name: "order 0, allocate and free",
        limit: 260.0,
        linux: Some(699.0),
        llfree: Some(526.0),
        buddy_system_allocator: Some(7263.0),
    },
    Row {
        key: "order9_pair",
        name: "order 9, allocate and free",
        limit: 420.0,
        linux: Some(18_752.0),
        llfree: Some(420.0),
        buddy_system_allocator: Some(285.0),
    },
    Row {
        key: "bulk_api",
        name: "order 0, 64 with one call, per page",
        limit: 68.0,
        linux: Some(68.5),
        llfree: None,
        buddy_system_allocator: None,
    },
    Row {
        key: "order0_alloc_drained",
        name: "order 0, allocate, 4096 in a row, empty per-CPU lists",
        limit: 300.0,
        linux: None,
        llfree: None,
        buddy_system_allocator: None,
    },
    Row {
        key: "order0_free_drained",
        name: "order 0, free these in random order, to the zone",
        limit: 256.0,
        linux: None,
        llfree: None,
        buddy_system_allocator: None,
    },
    Row {
        key: "order0_alloc",
        name: "order 0, allocate, 4096 in a row",
        limit: 300.0,
        linux: Some(547.0),
        llfree: Some(300.0),
        buddy_system_allocator: Some(463.0),
    },
    Row {
        key: "order0_free_random",
        name: "order 0, free these in random order",
        limit: 256.0,
        linux: Some(535.0),
        llfree: Some(256.0),
        buddy_system_allocator: Some(677.0),
    },
];

/// Measures and writes the counts down; false if a limit is missed.
pub fn run(repo: &Repo) -> Result<bool> {
    let counts = measure(repo)?;
    let mut body = format!(
        "`cargo xtask bench alloc-icount` at {}: instructions, best of the guest's repetitions, one vCPU at \
         ring 0, `qemu-system-x86_64 -M microvm -cpu qemu64 -icount shift=0,sleep=off`. Linux is Debian's \
         6.1.192 cloud kernel with `mitigations=off init_on_alloc=0 cgroup_disable=memory`, measured inside \
         the kernel; the Rust allocators ran in its user space. All under the same emulator.\n\n\
         | operation | Ballast | limit | Linux 6.1 | llfree | buddy_system_allocator |\n|---|---|---|---|---|---|\n",
        record::commit(repo)
    );
    let mut lines = String::new();
    for (row, count) in ROWS.iter().zip(&counts) {
        let Row { key, name, limit, .. } = row;
        let [linux, llfree, bsa] = [row.linux, row.llfree, row.buddy_system_allocator]
            .map(|peer| peer.map_or("-".to_owned(), |n| n.to_string()));
        writeln!(body, "| {name} | {count} | {limit} | {linux} | {llfree} | {bsa} |")?;
        writeln!(lines, "{key}\t{count}")?;
    }
    record::record(repo, "Page allocation, instructions", &body)?;
    fs::write(repo.root().join(RECORD), lines).with_context(|| format!("cannot write {RECORD}"))?;
    Ok(within_limits(&counts))
}

/// Measures and compares with the record; false if a count has left it. The limits are goals, which the benchmark
/// judges; a change is what a check is for.
pub fn check(repo: &Repo) -> Result<bool> {
    let recorded = repo.read(RECORD)?;
    let counts = measure(repo)?;
    let mut right = true;
    for (row, count) in ROWS.iter().zip(&counts) {
        if let Some(problem) = departure(&recorded, row.key, *count) {
            println!("{problem}; if that is meant, run `cargo xtask bench alloc-icount` and commit {RECORD}");
            right = false;
        }
    }
    Ok(right)
}

/// Runs the guest and returns the counts of all rows.
fn measure(repo: &Repo) -> Result<Vec<f64>> {
    let programs = guest::build(repo)?;
    let mut command = qemu::microvm(Engine::Counted, &programs.elf, 1, "512M", &COMMANDS.join("; "));
    let last = ROWS[ROWS.len() - 1].key;
    let seen = watch::watch(&mut command, last, LIMIT, |_| {}).context("the guest under QEMU")?;
    ROWS.iter().map(|row| value(&seen.output, row.key)).collect()
}

/// Prints every count with its limit and Linux's.
fn within_limits(counts: &[f64]) -> bool {
    let mut right = true;
    for (Row { key, limit, linux, .. }, count) in ROWS.iter().zip(counts) {
        let verdict = if count <= limit { "ok" } else { "MISS" };
        let linux = linux.map_or(String::new(), |linux| format!(" linux={linux}"));
        println!("{key}={count} limit={limit}{linux} {verdict}");
        right &= count <= limit;
    }
    right
}

/// What is wrong if `count` is not what the record says of `key`.
fn departure(record: &str, key: &str, count: f64) -> Option<String> {
    let line = record.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
    let Some(recorded) = line.and_then(|text| text.trim().parse::<f64>().ok()) else {
        return Some(format!("{key}={count} is not in {RECORD}"));
    };
    let allowed = (recorded * TOLERANCE).max(RESOLUTION);
    ((count - recorded).abs() > allowed).then(|| format!("{key}={count} is not within 2 % of {recorded}"))
}

/// The number after `key=` in the guest's output.
fn value(output: &str, key: &str) -> Result<f64> {
    let prefix = format!("{key}=");
    let word = output.split_whitespace().find_map(|word| word.strip_prefix(&prefix));
    let word = word.with_context(|| format!("the guest's bench printed no {key}="))?;
    let number = word.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.with_context(|| format!("the guest's bench printed {key}={word}"))
}

#[cfg(test)]
mod tests;
