//! `bench alloc-icount`: instructions of allocating and freeing pages, objects and areas, of page faults and of reads through
//! the page cache, counted by QEMU.
//!
//! One vCPU in ring 0 on `-cpu qemu64`, one nanosecond for each instruction, so the guest's own TSC
//! differences are instruction counts and repeat exactly on any machine. The peers were measured under the
//! same emulator with the same CPU model; `rep` string instructions count once for each iteration.
//!
//! What waits for a disk is counted from outside, by a plugin of QEMU (`counter`), over every instruction that is executed
//! meanwhile, interrupts and what is done for many at once among them. Such a row is the mean of all rounds: which of them pays
//! for a batch depends on this machine, and a row at the edge of those (nine of ten rounds) gave 4816 or 5384 for one guest.
//!
//! Owns: running the guest, and the record of what was measured last, `tests/data/icount.tsv`. Stays outside: the rows
//! with their limits and peers (`rows`). A count that leaves the record by more than 2 % fails the check, better
//! ones too: whoever changes the cost of an operation measures it again and commits the new record. What waits for a disk may
//! differ by 10 %.

mod counted;
mod rows;

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use self::rows::{ROWS, Row};
use super::qemu::{self, Engine};
use super::{guest, record, watch};
use crate::repo::Repo;

/// What the guest runs, in order.
const COMMANDS: &[&str] = &[
    "bench buddy",
    "bench slab",
    "bench vmalloc",
    "bench xarray",
    "bench fault",
    "bench cache",
    "bench filemap",
];
/// What it prints last.
const LAST: &str = "file_fault=";
const LIMIT: Duration = Duration::from_secs(300);
/// What was measured last: a key and a count on each line.
const RECORD: &str = "tests/data/icount.tsv";
/// The guest prints tenths; so small counts may differ by so much.
const RESOLUTION: f64 = 0.15;

/// Measures and writes the counts down; false if a limit is missed.
pub fn run(repo: &Repo) -> Result<bool> {
    let counts = measure(repo)?;
    let mut body = format!(
        "`cargo xtask bench alloc-icount` at {}: instructions, best of the guest's repetitions, one vCPU at \
         ring 0, `qemu-system-x86_64 -M microvm -cpu qemu64 -icount shift=0,sleep=off`. Linux is Debian's \
         6.1.192 cloud kernel with `mitigations=off init_on_alloc=0 cgroup_disable=memory`, measured inside \
         the kernel; the other allocators ran in its user space. All under the same emulator. Ours with its \
         defaults: free lists are neither hardened nor in random order.\n\n\
         | operation | Ballast | must | aim | | Linux 6.1 | best other |\n|---|---|---|---|---|---|---|\n",
        record::commit(repo)
    );
    let mut lines = String::new();
    for (row, count) in ROWS.iter().zip(&counts) {
        let Row { key, name, must, .. } = row;
        let [aim, linux] =
            [row.aim, row.linux].map(|number| number.map_or("-".to_owned(), |n| n.to_string()));
        let peer = row.peer.map_or("-".to_owned(), |(peer, n)| format!("{peer} {n}"));
        let verdict = verdict(*count, *must);
        writeln!(body, "| {name} | {count} | {must} | {aim} | {verdict} | {linux} | {peer} |")?;
        writeln!(lines, "{key}\t{count}")?;
    }
    record::record(repo, "Allocation and faults, instructions", &body)?;
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
        if let Some(problem) = departure(&recorded, row, *count) {
            println!("{problem}; if that is meant, run `cargo xtask bench alloc-icount` and commit {RECORD}");
            right = false;
        }
    }
    Ok(right)
}

/// What the record says of these rows, with what each must be, in words.
pub fn recorded(repo: &Repo, keys: &[&str]) -> Result<String> {
    let record = repo.read(RECORD)?;
    let words = ROWS.iter().filter(|row| keys.contains(&row.key)).map(|row| {
        let count = count_of(&record, row).with_context(|| format!("{} is not in {RECORD}", row.key))?;
        Ok(format!("{} {count} of {}", row.key, row.must))
    });
    Ok(words.collect::<Result<Vec<_>>>()?.join(", "))
}

/// Runs the guest and returns the counts of all rows.
fn measure(repo: &Repo) -> Result<Vec<f64>> {
    let programs = guest::build(repo)?;
    let mut command = qemu::microvm(Engine::Counted, &programs.elf, 1, "512M", &COMMANDS.join("; "));
    let seen = watch::watch(&mut command, LAST, LIMIT, |_| {}).context("the guest under QEMU")?;
    let output = seen.output + &counted::measure(repo, &programs)?;
    ROWS.iter().map(|row| value(&output, row.key)).collect()
}

/// Measures and prints every count with what it must and should be; false if a limit is missed.
pub fn report(repo: &Repo) -> Result<bool> {
    Ok(within_limits(&measure(repo)?))
}

/// Prints every count with what it must and should be, and what others need.
fn within_limits(counts: &[f64]) -> bool {
    let mut right = true;
    for (row, count) in ROWS.iter().zip(counts) {
        let Row { key, must, .. } = row;
        let mut line = format!("{key}={count} must={must} {}", verdict(*count, *must));
        if let Some(aim) = row.aim {
            line += &format!(" aim={aim} {}", verdict(*count, aim));
        }
        if let Some(linux) = row.linux {
            line += &format!(" linux={linux}");
        }
        if let Some((peer, n)) = row.peer {
            line += &format!(" {peer}={n}");
        }
        println!("{line}");
        right &= count <= must;
    }
    right
}

/// Whether a count is within a limit, in a word.
fn verdict(count: f64, limit: f64) -> &'static str {
    if count <= limit { "ok" } else { "missed" }
}

/// What is wrong if `count` is not what the record says of `row`.
fn departure(record: &str, row: &Row, count: f64) -> Option<String> {
    let (key, tolerance) = (row.key, row.tolerance());
    let Some(recorded) = count_of(record, row) else {
        return Some(format!("{key}={count} is not in {RECORD}"));
    };
    let allowed = (recorded * tolerance).max(RESOLUTION);
    let percent = tolerance * 100.0;
    // A disk that answers before anybody sleeps makes it less, on a busy machine most of the time; nothing makes it more.
    let more = count - recorded;
    let departs = if row.waits { more > allowed } else { more.abs() > allowed };
    departs.then(|| format!("{key}={count} is not within {percent} % of {recorded}"))
}

/// What the record says of `row`.
fn count_of(record: &str, row: &Row) -> Option<f64> {
    let line = record.lines().find_map(|line| line.strip_prefix(row.key)?.strip_prefix('\t'));
    line.and_then(|text| text.trim().parse().ok())
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
