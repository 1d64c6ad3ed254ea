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
    limit: u64,
    linux: u64,
    llfree: u64,
    buddy_system_allocator: u64,
}

const ROWS: [Row; 2] = [
    Row {
        key: "order0_pair",
        name: "order 0, allocate and free",
        limit: 260,
        linux: 699,
        llfree: 526,
        buddy_system_allocator: 285,
    },
    Row {
        key: "order9_pair",
        name: "order 9, allocate and free",
        limit: 420,
        linux: 18_752,
        llfree: 420,
        buddy_system_allocator: 285,
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
        let verdict = if count <= *limit { "ok" } else { "MISS" };
        println!("{key}={count} limit={limit} linux={linux} {verdict}");
        right &= count <= *limit;
    }
    record::record(repo, "Page allocation, instructions", &body)?;
    Ok(right)
}

/// The number after `key=` in the guest's output.
fn value(output: &str, key: &str) -> Result<u64> {
    let prefix = format!("{key}=");
    let word = output.split_whitespace().find_map(|word| word.strip_prefix(&prefix));
    let word = word.with_context(|| format!("the guest's `{COMMAND}` printed no {key}="))?;
    word.parse().with_context(|| format!("the guest's `{COMMAND}` printed {key}={word}"))
}

#[cfg(test)]
mod tests;
