//! `bench swap`: pages that go to swap and come back, beside the host's own io_uring on the same file.
//!
//! Owns: the steps, the table and the limits. Stays outside: the host's side (`uring`), instructions of a page
//! (`bench alloc-icount`).
//! The guest goes first; then the host moves as many bytes in requests of the size that the guest's had, by the monitor's
//! count, to the same file in the same way. Each keeps its best round: a disturbance only ever makes a round slower. Requests
//! and exits of a step are what the monitor counts in a run more than in one that ends a step earlier.
//! The limit is for the disk itself; through the host's page cache there is no disk, and the host only copies memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::guest::{self, Programs, exits, fact};
use super::record::{commit, record};
use super::uring::{self, Plan, Until};
use super::{icount, image};
use crate::repo::Repo;

/// Bytes of the file.
const FILE_BYTES: u64 = 256 << 20;
/// Bytes that go to swap.
const BYTES: u64 = 128 << 20;
/// Memory of the guest: what comes back has room.
const MEMORY: &str = "384M";
/// Pages that are brought back from anywhere.
const FAULTS: u64 = 8192;
/// Writes of the host in flight: more make it no faster.
const WRITES: usize = 32;
/// Smallest share of the host's speed.
const LIMIT: f64 = 0.7;
/// Ways to the file, and whether the limit is for them.
const CACHES: [(&str, bool); 2] = [("none", true), ("writeback", false)];
const MIB: f64 = (1 << 20) as f64;
/// The rows of `bench alloc-icount` that count the same.
const COUNTS: [&str; 3] = ["swap_out", "swap_in", "swap_in_random"];

/// What a run of the guest came to.
struct Run {
    text: String,
}

impl Run {
    fn number(&self, key: &str) -> Result<u64> {
        fact(&self.text, key).with_context(|| format!("no {key}= in:\n{}", self.text))
    }

    /// What this run has more than one that ended earlier.
    fn more(&self, before: &Self, key: &str) -> Result<u64> {
        Ok(self.number(key)?.saturating_sub(before.number(key)?))
    }

    fn exits(&self, before: &Self) -> Result<u64> {
        Ok(exits(&self.text)?.saturating_sub(exits(&before.text)?))
    }
}

/// One way of moving pages, by the best round of either side.
#[derive(Clone, Copy, Default)]
struct Best {
    /// Bytes a second, or requests a second.
    host: f64,
    guest: f64,
    /// Bytes of a request of the guest, and its exits for each MiB.
    request: f64,
    exits: f64,
}

impl Best {
    fn host(&mut self, speed: f64) {
        self.host = self.host.max(speed);
    }

    /// Takes a step in which `bytes` bytes were moved in `ns` nanoseconds with so many requests and exits.
    fn guest(&mut self, bytes: u64, ns: u64, requests: u64, exits: u64) {
        let speed = bytes as f64 * 1e9 / ns as f64;
        if speed > self.guest {
            self.guest = speed;
            self.request = bytes as f64 / requests as f64;
            self.exits = exits as f64 * MIB / bytes as f64;
        }
    }

    /// Whole pages of a request.
    fn request_bytes(&self) -> u32 {
        ((self.request / 4096.0).round().max(1.0) * 4096.0) as u32
    }
}

/// All of one way to the file.
#[derive(Default)]
struct Way {
    out: Best,
    back: Best,
    /// The host's speed at many reads in flight.
    deep: f64,
    random: Best,
    /// The guest's own reads of the disk.
    raw: f64,
}

/// The disk: its file, and the page that makes it an area.
struct Disk<'a> {
    programs: &'a Programs,
    path: &'a Path,
    header: Vec<u8>,
    cache: &'static str,
}

/// Measures `rounds` rounds of everything; false if a limit is missed.
pub fn run(repo: &Repo, rounds: u32) -> Result<bool> {
    let programs = guest::build(repo)?;
    let path = repo.root().join("target/bench-swap.img");
    let result = measure(repo, &programs, &path, rounds);
    // What is left behind is only in the way.
    let _ = fs::remove_file(&path);
    result
}

fn measure(repo: &Repo, programs: &Programs, path: &Path, rounds: u32) -> Result<bool> {
    let header = header(programs, path)?;
    image::write(path, FILE_BYTES)?;
    let (mut right, mut table) = (true, String::new());
    println!("swap: best of {rounds} rounds");
    for (cache, is_limited) in CACHES {
        let disk = Disk { programs, path, header: header.clone(), cache };
        let way = disk.measure(rounds)?;
        right &= report(&way, (cache, is_limited), &mut table);
    }
    let counts = icount::recorded(repo, &COUNTS)?;
    println!("instructions of a page, recorded by bench alloc-icount: {counts}");
    let body = format!(
        "`cargo xtask bench swap` at {}: {} MiB go to swap and come back, best of {rounds} rounds in turns, the same file; the \
         host by one io_uring in one thread, in requests of the guest's size. Exits are KVM's own count, of which the faults of \
         the context are the most with software KVM. Instructions of a page, recorded by `cargo xtask bench alloc-icount`: \
         {counts}.\n\n\
         | pages | cache | host | guest | guest over host | limit | | KiB of a request | exits per MiB |\n\
         |---|---|---|---|---|---|---|---|---|\n{table}",
        commit(repo),
        BYTES >> 20
    );
    record(repo, "Swap beside the host's io_uring", &body)?;
    Ok(right)
}

/// The first page of an area as large as the file.
fn header(programs: &Programs, path: &Path) -> Result<Vec<u8>> {
    let mut mkswap = Command::new(&programs.vmm);
    mkswap.args(["image", "mkswap", "--size", &FILE_BYTES.to_string(), "--out"]).arg(path);
    ensure!(mkswap.output().context("cannot run vmm")?.status.success(), "vmm makes no swap area");
    let mut page = vec![0; 4096];
    File::open(path)?.read_exact_at(&mut page, 0).context("cannot read the swap area")?;
    fs::remove_file(path).context("cannot remove the swap area")?;
    Ok(page)
}

impl Disk<'_> {
    fn measure(&self, rounds: u32) -> Result<Way> {
        let touched = self.bench("touch", "")?;
        let sent = self.bench("out", "")?;
        let mut way = Way::default();
        for _ in 0..rounds {
            let all = self.bench("in", "")?;
            let (out_ns, in_ns) = (all.number("out_ns")?, all.number("in_ns")?);
            way.out.guest(BYTES, out_ns, all.more(&touched, "disk.disk0.writes")?, sent.exits(&touched)?);
            way.back.guest(BYTES, in_ns, all.more(&sent, "disk.disk0.reads")?, all.exits(&sent)?);
            self.random(&sent, &mut way)?;
            way.out.host(self.host(true, false, way.out.request_bytes(), WRITES)?);
            way.back.host(self.host(false, false, way.back.request_bytes(), 1)?);
            way.deep = way.deep.max(self.host(false, false, way.back.request_bytes(), WRITES)?);
            way.random.host(self.host(false, true, 4096, 1)?);
        }
        Ok(way)
    }

    /// Single pages from anywhere, and the guest's own reads of as much.
    fn random(&self, sent: &Run, way: &mut Way) -> Result<()> {
        let run = self.bench("random", "sysctl.vm.page-cluster=0")?;
        let (faults, reads) = (run.number("in_faults")?, run.more(sent, "disk.disk0.reads")?);
        let bytes = run.more(sent, "disk.disk0.read_bytes")?;
        ensure!(
            faults == FAULTS && reads == FAULTS && bytes == FAULTS * 4096,
            "{FAULTS} pages from anywhere are {faults} faults and {reads} reads of {bytes} bytes"
        );
        way.random.guest(bytes, run.number("in_ns")?, reads, run.exits(sent)?);
        let raw = self.start("disk bench vda mode=randread bs=4096 depth=1 seconds=1", "")?;
        let speed = raw.number("requests")? as f64 * 4096.0 * 1e6 / raw.number("us")? as f64;
        way.raw = way.raw.max(speed);
        Ok(())
    }

    /// The host moves as much in requests of `bytes` bytes; bytes a second.
    fn host(&self, write: bool, random: bool, bytes: u32, depth: usize) -> Result<f64> {
        let requests = if random { FAULTS } else { BYTES / u64::from(bytes) };
        let direct = self.cache == "none";
        let plan = Plan { write, direct, random, bytes, depth, until: Until::Requests(requests) };
        Ok(uring::run(self.path, &plan)? * f64::from(bytes))
    }

    fn bench(&self, until: &str, append: &str) -> Result<Run> {
        let run = format!("swapon /dev/vda; swap bench size={BYTES} until={until} pages={FAULTS}");
        self.start(&run, append)
    }

    /// Boots a guest with the file as its only disk, which is an area again.
    fn start(&self, run: &str, append: &str) -> Result<Run> {
        let file = File::options().write(true).open(self.path).context("cannot open the swap area")?;
        file.write_all_at(&self.header, 0).and_then(|()| file.sync_all()).context("cannot write the area")?;
        let disk = format!("{},cache={}", self.path.display(), self.cache);
        let options = ["--swap", "none", "--cpus", "2", "--mem", MEMORY, "--prefault", "--disk", &disk];
        let more = ["--append", append, "--run", run];
        Ok(Run { text: guest::run(self.programs, &[&options[..], &more].concat())? })
    }
}

/// Prints all rows of one way to the file and adds them to the table; false if a limit is missed.
fn report(way: &Way, (cache, is_limited): (&str, bool), table: &mut String) -> bool {
    let mut right = true;
    let mut line = |name: &str,
                    unit: &str,
                    [host, guest]: [f64; 2],
                    ratio: f64,
                    best: &Best,
                    limited: bool| {
        let verdict = match (limited, ratio >= LIMIT) {
            (false, _) => "-",
            (true, true) => "ok",
            (true, false) => "MISS",
        };
        let limit = if limited { LIMIT.to_string() } else { "-".to_owned() };
        let (kib, exits) = (best.request / 1024.0, best.exits);
        println!(
            "{name:<28} cache={cache:<9} host {host:>8.1} {unit:<5}  guest {guest:>8.1} {unit:<5}  ratio {ratio:>5.2}  \
             limit {limit:>3}  {verdict:<4}  {kib:.1} KiB a request, {exits:.1} exits per MiB"
        );
        *table += &format!(
            "| {name} | {cache} | {host:.1} {unit} | {guest:.1} {unit} | {ratio:.2} | {limit} | {verdict} | {kib:.1} | {exits:.1} |\n"
        );
        right &= verdict != "MISS";
    };
    let mib = |host: f64, guest: f64| [host / MIB, guest / MIB];
    let us = |host: f64, guest: f64| [4096.0 * 1e6 / host, 4096.0 * 1e6 / guest];
    let Way { out, back, deep, random, raw } = way;
    line("out", "MiB/s", mib(out.host, out.guest), out.guest / out.host, out, is_limited);
    line("in, in order", "MiB/s", mib(back.host, back.guest), back.guest / back.host, back, is_limited);
    line("the same, host 32 at once", "MiB/s", mib(*deep, back.guest), back.guest / deep, back, false);
    line("in, from anywhere", "us", us(random.host, random.guest), random.guest / random.host, random, false);
    line("the same, guest's raw read", "us", us(*raw, random.guest), random.guest / raw, random, false);
    right
}
