//! `bench disk`: the guest's disk beside the host's own io_uring on the same file.
//!
//! Owns: the patterns, the table and the limits. Stays outside: the host's side (`uring`).
//! Host and guest take turns on every pattern, so that a slow moment of the machine meets both, and each keeps its
//! best round: a disturbance only ever makes a round slower. The guest is asked for the same pattern, request size and
//! depth; exits are KVM's own count for the run less those of a run that only boots.

use std::path::Path;

use anyhow::{Context, Result};

use super::guest::{self, Programs, exits, fact};
use super::record::{commit, record};
use super::{image, uring};
use crate::repo::Repo;

/// Bytes of the file: larger than what one round reads of it at random.
const FILE_BYTES: u64 = 1 << 30;
/// Seconds of a round.
const SECONDS: u64 = 2;
/// Most exits for a request at depth 32.
const EXITS_LIMIT: f64 = 0.2;

/// What is measured.
struct Pattern {
    name: &'static str,
    /// As the guest spells it.
    mode: &'static str,
    random: bool,
    bytes: u32,
    depth: usize,
    /// Smallest share of the host's speed.
    limit: f64,
}

const PATTERNS: [Pattern; 2] = [
    Pattern { name: "sequential 1 MiB", mode: "read", random: false, bytes: 1 << 20, depth: 8, limit: 0.9 },
    Pattern {
        name: "random 4 KiB, depth 32",
        mode: "randread",
        random: true,
        bytes: 4096,
        depth: 32,
        limit: 0.7,
    },
];

/// How the file is opened, on both sides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cache {
    /// Around the page cache: the disk itself.
    None,
    /// Through it, all of the file in it: no disk, only the path to it.
    Writeback,
}

impl Cache {
    fn option(self) -> &'static str {
        if self == Self::None { "none" } else { "writeback" }
    }
}

/// The best of some rounds.
#[derive(Default)]
struct Best {
    host: f64,
    guest: f64,
    /// Exits per request in the guest's best round.
    exits: f64,
    kicks: f64,
    interrupts: f64,
}

/// Measures `rounds` rounds of everything; false if a limit is missed.
pub fn run(repo: &Repo, rounds: u32) -> Result<bool> {
    let programs = guest::build(repo)?;
    let folder = repo.root().join("target");
    let path = folder.join("bench-disk.img");
    image::write(&path, FILE_BYTES)?;
    let result = measure(repo, &programs, &path, rounds);
    // What is left behind is only in the way.
    let _ = std::fs::remove_file(&path);
    result
}

fn measure(repo: &Repo, programs: &Programs, path: &Path, rounds: u32) -> Result<bool> {
    let boot = exits(&start(programs, path, Cache::None, "echo boot")?)?;
    let (mut right, mut table) = (true, String::new());
    println!("disk: best of {rounds} rounds of {SECONDS} s each, requests per second");
    for cache in [Cache::None, Cache::Writeback] {
        for pattern in &PATTERNS {
            let mut best = Best::default();
            for _ in 0..rounds {
                best.host = best.host.max(host(path, cache, pattern)?);
                guest_round(programs, path, cache, pattern, boot, &mut best)?;
            }
            let ratio = best.guest / best.host;
            let fast = ratio >= pattern.limit;
            let few = pattern.depth < 32 || best.exits < EXITS_LIMIT;
            let verdict = if fast && few { "ok" } else { "MISS" };
            println!(
                "{:<24} cache={:<10} host {:>8.0}  guest {:>8.0}  ratio {ratio:>5.2}  limit {:.1}  exits {:.3}  \
                 (kicks {:.3}, interrupts {:.3})  limit {EXITS_LIMIT} at depth 32  {verdict}",
                pattern.name,
                cache.option(),
                best.host,
                best.guest,
                pattern.limit,
                best.exits,
                best.kicks,
                best.interrupts,
            );
            table += &format!(
                "| {} | {} | {:.0} | {:.0} | {ratio:.2} | {:.1} | {:.3} |\n",
                pattern.name,
                cache.option(),
                best.host,
                best.guest,
                pattern.limit,
                best.exits
            );
            right &= fast && few;
        }
    }
    let body = format!(
        "`cargo xtask bench disk` at {}: requests per second, best of {rounds} rounds of {SECONDS} s in turns, the \
         same file of {} MiB; the host by one io_uring in one thread.\n\n\
         | pattern | cache | host | guest | ratio | limit | exits per request |\n|---|---|---|---|---|---|---|\n{table}",
        commit(repo),
        FILE_BYTES >> 20
    );
    record(repo, "Disk beside the host's io_uring", &body)?;
    Ok(right)
}

fn host(path: &Path, cache: Cache, pattern: &Pattern) -> Result<f64> {
    let plan = uring::Plan {
        write: false,
        direct: cache == Cache::None,
        random: pattern.random,
        bytes: pattern.bytes,
        depth: pattern.depth,
        until: uring::Until::Seconds(SECONDS),
    };
    uring::run(path, &plan)
}

fn guest_round(
    programs: &Programs,
    path: &Path,
    cache: Cache,
    pattern: &Pattern,
    boot: u64,
    best: &mut Best,
) -> Result<()> {
    let Pattern { mode, bytes, depth, .. } = pattern;
    let run = format!("disk bench vda mode={mode} bs={bytes} depth={depth} seconds={SECONDS}");
    let output = start(programs, path, cache, &run)?;
    let number = |key: &str| {
        fact(&output, key).with_context(|| format!("no {key}= in what the guest says:\n{output}"))
    };
    let (requests, us) = (number("requests")?, number("us")?);
    let speed = requests as f64 * 1e6 / us as f64;
    if speed > best.guest {
        let per_request = |count: u64| count as f64 / requests as f64;
        best.guest = speed;
        best.exits = per_request(exits(&output)?.saturating_sub(boot));
        best.kicks = per_request(number("kicks")?);
        best.interrupts = per_request(number("interrupts")?);
    }
    Ok(())
}

/// Boots a guest with the file as its only disk and returns what it printed.
fn start(programs: &Programs, path: &Path, cache: Cache, run: &str) -> Result<String> {
    let disk = format!("{},cache={}", path.display(), cache.option());
    guest::run(programs, &["--swap", "none", "--disk", &disk, "--run", run])
}
