//! `bench alloc-icount`: instructions per page allocation and free, counted by QEMU.
//!
//! One vCPU in ring 0 on `-cpu qemu64`, one nanosecond for each instruction, so the guest's own TSC
//! differences are instruction counts and repeat exactly on any machine. The peers were measured under the
//! same emulator with the same CPU model; `rep` string instructions count once for each iteration.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};

use super::qemu::{self, Engine};
use super::{guest, record, watch};
use crate::repo::Repo;

const COMMAND: &str = "bench buddy";
const LIMIT: Duration = Duration::from_secs(300);

/// What is measured: the key the guest prints, its name, the limit, and the peers (best of N).
struct Row {
    key: &'static str,
    name: &'static str,
    limit: u32,
    linux: u32,
    llfree: u32,
    buddy_system_allocator: u32,
}

/// The last key is the last thing the guest prints.
const ROWS: [Row; 4] = [
    Row {
        key: "order0_pair",
        name: "order 0, allocate and free",
        limit: 260,
        linux: 699,
        llfree: 526,
        buddy_system_allocator: 7263,
    },
    Row {
        key: "order9_pair",
        name: "order 9, allocate and free",
        limit: 420,
        linux: 18_752,
        llfree: 420,
        buddy_system_allocator: 285,
    },
    Row {
        key: "order0_alloc",
        name: "order 0, allocate, 4096 in a row",
        limit: 300,
        linux: 547,
        llfree: 300,
        buddy_system_allocator: 463,
    },
    Row {
        key: "order0_free_random",
        name: "order 0, free these in random order",
        limit: 256,
        linux: 535,
        llfree: 256,
        buddy_system_allocator: 677,
    },
];

/// Measures and records; false if a limit is missed.
pub fn run(repo: &Repo) -> Result<bool> {
    let programs = guest::build(repo)?;
    let mut command = qemu::microvm(Engine::Counted, &programs.elf, 1, "512M", COMMAND);
    let last = ROWS[ROWS.len() - 1].key;
    let seen = watch::watch(&mut command, last, LIMIT, |_| {}).context("the guest under QEMU")?;
    let mut body = format!(
        "`cargo xtask bench alloc-icount` at {}: instructions, best of the guest's repetitions, one vCPU at \
         ring 0, `qemu-system-x86_64 -M microvm -cpu qemu64 -icount shift=0,sleep=off`. Linux is Debian's \
         6.1.192 cloud kernel with `mitigations=off init_on_alloc=0 cgroup_disable=memory`, measured inside \
         the kernel; the Rust allocators ran in its user space. All under the same emulator.\n\n\
         | operation | Ballast | limit | Linux 6.1 | llfree | buddy_system_allocator |\n|---|---|---|---|---|---|\n",
        record::commit(repo)
    );
    let mut right = true;
    for row in &ROWS {
        let count = value(&seen.output, row.key)?;
        let Row { key, name, limit, linux, llfree, buddy_system_allocator } = row;
        writeln!(body, "| {name} | {count} | {limit} | {linux} | {llfree} | {buddy_system_allocator} |")?;
        let fits = count <= f64::from(*limit);
        let verdict = if fits { "ok" } else { "MISS" };
        println!("{key}={count} limit={limit} linux={linux} {verdict}");
        right &= fits;
    }
    record::record(repo, "Page allocation, instructions", &body)?;
    Ok(right)
}

/// The number after `key=` in the guest's output.
fn value(output: &str, key: &str) -> Result<f64> {
    let prefix = format!("{key}=");
    let word = output.split_whitespace().find_map(|word| word.strip_prefix(&prefix));
    let word = word.with_context(|| format!("the guest's `{COMMAND}` printed no {key}="))?;
    let number = word.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.with_context(|| format!("the guest's `{COMMAND}` printed {key}={word}"))
}

#[cfg(test)]
mod tests;
