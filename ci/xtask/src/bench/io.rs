//! `bench io`: reads through the guest's page cache beside the host's own `pread` of the same file.
//!
//! Owns: the rows, the table and the limits. Stays outside: the host's side (`io::host`).
//! Host and guest take turns, and each keeps its best round: a disturbance only ever makes a round slower. What is in memory is
//! read a batch at a time, of which the least counts, by the same rules on both sides. What is not is read once from one end
//! to the other, both with the readahead that the host has set: by the host through its page cache, and by the guest through
//! that too, as disks are by default, and around it. Both begin alike: the file is in memory when a guest boots, which takes
//! its own memory, and is forgotten a moment before the first read; where the host reads, that guest sleeps meanwhile. What the
//! host's page cache then takes is memory that was in use just now, and as much of it. On the development machine the host's
//! own read takes twice as long after its memory was free for some seconds (42 us for 64 KiB against 20), likely because
//! that memory goes back to the machine below; a guest that had booted in between paid for that, and the host did not.

mod host;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::guest::{self, Programs, exits, facts};
use super::record::{commit, record};
use super::{image, uring};
use crate::repo::Repo;

/// Bytes of the file.
const FILE_BYTES: u64 = 1 << 30;
/// Memory of the guest: the file fits.
const MEMORY: &str = "1536M";

/// Reads of what is in memory.
struct Row {
    name: &'static str,
    /// As the guest spells it.
    guest: &'static str,
    host: host::Work,
    /// The host's time is at least so many times the guest's.
    limit: f64,
}

const ROWS: [Row; 3] = [
    Row {
        name: "4 KiB at one place, cached",
        guest: "order=hot",
        host: host::Work::Read { bytes: 4096, random: false },
        limit: 3.0,
    },
    Row {
        name: "4 KiB anywhere, cached",
        guest: "order=random",
        host: host::Work::Read { bytes: 4096, random: true },
        limit: 1.3,
    },
    Row {
        name: "64 KiB anywhere, cached; the host copies memory",
        guest: "order=random bs=64K",
        host: host::Work::Copy { bytes: 64 << 10 },
        limit: 0.8,
    },
];

/// Ways to the file where it is not in memory, with the share of the host's speed that there must be.
const COLD_WAYS: [(&str, &str, f64); 2] = [
    ("64 KiB in a row, nothing in memory", "writeback", 0.9),
    ("the same, around the host's page cache", "none", 0.9),
];
const COLD: &str = "file bench /dev/vda order=sequential bs=64K";
/// The guest says that it has booted, and waits [`PAUSE`] until its file is forgotten.
const READY: &str = "ready";
const PAUSE: Duration = Duration::from_millis(400);
/// How long a guest sleeps while the host reads.
const HOST_SECONDS: u64 = 3;

/// The best of some rounds: picoseconds of a read of each row, and of the whole file.
struct Best {
    host: [u64; ROWS.len()],
    guest: [u64; ROWS.len()],
    cold_host: u64,
    cold: [Cold; COLD_WAYS.len()],
}

/// The whole file, read by the guest.
#[derive(Clone, Copy)]
struct Cold {
    ps: u64,
    exits: u64,
}

/// Measures `rounds` rounds of everything; false if a limit is missed.
pub fn run(repo: &Repo, rounds: u32) -> Result<bool> {
    let programs = guest::build(repo)?;
    let path = repo.root().join("target/bench-io.img");
    image::write(&path, FILE_BYTES)?;
    let result = measure(repo, &programs, &path, rounds);
    // What is left behind is only in the way.
    let _ = std::fs::remove_file(&path);
    result
}

fn measure(repo: &Repo, programs: &Programs, path: &Path, rounds: u32) -> Result<bool> {
    let mut host = host::Host::new(path, FILE_BYTES)?;
    let readahead = host::readahead_kb(path)?;
    let boot = exits(&start(programs, (path, "none"), readahead, "echo boot")?)?;
    let most = [u64::MAX; ROWS.len()];
    let cold = [Cold { ps: u64::MAX, exits: 0 }; COLD_WAYS.len()];
    let mut best = Best { host: most, guest: most, cold_host: u64::MAX, cold };
    for _ in 0..rounds {
        best.cold_host = best.cold_host.min(cold_host(programs, path, readahead, &mut host)?);
        for (least, row) in best.host.iter_mut().zip(&ROWS) {
            *least = (*least).min(host.least(row.host)?);
        }
        for (cold, (_, cache, _)) in best.cold.iter_mut().zip(COLD_WAYS) {
            host.read_through()?;
            cold_round(programs, (path, cache), readahead, boot, cold)?;
        }
        let all = ROWS.map(|row| format!("file bench /dev/vda {}", row.guest)).join("; ");
        let output = start(programs, (path, "none"), readahead, &format!("{COLD}; {all}"))?;
        for (n, least) in best.guest.iter_mut().enumerate() {
            let ps = facts(&output, "ps").nth(n + 1);
            *least = (*least).min(ps.with_context(|| format!("too few times in:\n{output}"))?);
        }
    }
    report(repo, rounds, readahead, &best)
}

/// Picoseconds of the host's own read of the whole file, beside a guest that sleeps.
fn cold_host(programs: &Programs, path: &Path, readahead: u64, host: &mut host::Host) -> Result<u64> {
    host.read_through()?;
    let (run, mut ps) = (format!("echo {READY}; sleep {HOST_SECONDS}"), 0);
    let read = || {
        let start = Instant::now();
        uring::forget(path)?;
        thread::sleep(PAUSE);
        ps = host.read_through()?;
        ensure!(
            start.elapsed().as_secs() < HOST_SECONDS,
            "the guest was gone before the host had read the file"
        );
        Ok(())
    };
    booted((path, "none"), readahead, &run, |options| guest::run_with(programs, options, READY, read))?;
    Ok(ps)
}

/// One read of the whole file, which is in the host's memory until the guest has booted.
fn cold_round(
    programs: &Programs,
    file: (&Path, &str),
    readahead: u64,
    boot: u64,
    cold: &mut Cold,
) -> Result<()> {
    let (pause, path) = (PAUSE.as_secs_f64(), file.0);
    let run = format!("echo {READY}; sleep {pause}; {COLD}");
    let forget = || {
        let start = Instant::now();
        uring::forget(path)?;
        ensure!(start.elapsed() < PAUSE / 2, "the file was forgotten too late: the guest reads already");
        Ok(())
    };
    let output = booted(file, readahead, &run, |options| guest::run_with(programs, options, READY, forget))?;
    let number = |key| facts(&output, key).next().with_context(|| format!("no {key}= in:\n{output}"));
    let ps = number("ps")? * number("reads")?;
    if ps < cold.ps {
        *cold = Cold { ps, exits: exits(&output)?.saturating_sub(boot) };
    }
    Ok(())
}

/// Boots a guest with the file as its only disk, which is read with this `cache=`.
fn start(programs: &Programs, file: (&Path, &str), readahead: u64, run: &str) -> Result<String> {
    booted(file, readahead, run, |options| guest::run(programs, options))
}

/// The same by `boot`, which takes the options of `vmm run`.
fn booted(
    (path, cache): (&Path, &str),
    readahead: u64,
    run: &str,
    boot: impl FnOnce(&[&str]) -> Result<String>,
) -> Result<String> {
    let disk = format!("{},ro,cache={cache}", path.display());
    let append = format!("read_ahead_kb={readahead}");
    let options = ["--swap", "none", "--mem", MEMORY, "--prefault", "--append", &append, "--disk", &disk];
    boot(&[&options[..], &["--run", run]].concat())
}

/// Prints all and writes it down; false if a limit is missed.
fn report(repo: &Repo, rounds: u32, readahead: u64, best: &Best) -> Result<bool> {
    let (mut right, mut table) = (true, String::new());
    println!("io: best of {rounds} rounds, nanoseconds of a read");
    let mut line = |name: &str, [host, guest]: [f64; 2], limit: f64, note: &str| {
        let ratio = host / guest;
        let is_kept = ratio >= limit;
        let verdict = if is_kept { "ok" } else { "MISS" };
        println!(
            "{name:<48} host {host:>8.1}  guest {guest:>8.1}  ratio {ratio:>5.2}  limit {limit:.1}  {verdict}{note}"
        );
        table +=
            &format!("| {name} | {host:.1} | {guest:.1} | {ratio:.2} | {limit:.1} | {verdict}{note} |\n");
        right &= is_kept;
    };
    for (n, row) in ROWS.iter().enumerate() {
        let [host, guest] = [best.host[n], best.guest[n]].map(|ps| ps as f64 / 1e3);
        line(row.name, [host, guest], row.limit, "");
    }
    let reads = (FILE_BYTES >> 16) as f64;
    for (Cold { ps, exits }, (name, _, limit)) in best.cold.iter().zip(COLD_WAYS) {
        let [host, guest] = [best.cold_host, *ps].map(|ps| ps as f64 / 1e3 / reads);
        let note = format!(", exits per MiB {:.2}", *exits as f64 / (FILE_BYTES >> 20) as f64);
        line(name, [host, guest], limit, &note);
    }
    let body = format!(
        "`cargo xtask bench io` at {}: a file of {} MiB; nanoseconds of a read, best of {rounds} rounds in turns; the least \
         batch of 16 MiB where it is in memory. Readahead is {readahead} KiB on both sides.\n\n| reads | host | guest | host over guest | limit | |\n|---|---|---|---|---|---|\n{table}",
        commit(repo),
        FILE_BYTES >> 20
    );
    record(repo, "Reads through the page cache, time", &body)?;
    Ok(right)
}
