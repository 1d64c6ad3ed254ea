//! Power cuts under a file: a monitor that is killed while its guest writes, maps, shortens and syncs a file of a data volume
//! loses nothing that a sync has promised, and shows nothing that was never written.
//!
//! Owns: the rounds, and what may be on the image after one. The guest does what `shared::journal` says and prints the number of
//! each sync that has returned (`file journal`). Invariants: a word of the file is what it was at the last sync that was
//! promised, or of one after that, or what an operation up to the next sync has made of it; so is the size.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use images::{Content, DataSpec, Existing, FileSpec};
use shared::journal::{Op, WORD, WORDS, op};

use crate::chances::Chances;
use crate::kill::nothing_left;
use crate::{Host, vmm};

/// The longest time between the first promise and the kill, in milliseconds.
const SPAN_MS: u64 = 400;
/// Operations whose promise can have been lost.
const LOST: u64 = 500;
/// How long the guest may take to its first promise, and to say its last word.
const PATIENCE: Duration = Duration::from_secs(120);
/// Requests after which the volume is mounted and the file open at the latest.
const MOUNTED: u64 = 16;
/// The ways of doing I/O; the rounds take turns. Which write is torn, or which request fails, is chosen for each round.
const OPTIONS: [&str; 7] = [
    "",
    ",latency=1ms",
    ",torn=",
    ",io=threads",
    ",fail_nth=",
    ",cache=none,torn=",
    ",cache=none,io=threads,latency=1ms",
];

/// What the guest has said.
#[derive(Default)]
struct Said {
    /// The last sync that has returned.
    synced: u64,
    /// How often each of the two that have the file open was told of an error.
    told: [u64; 2],
    /// Anything that should not be there.
    wrong: Vec<String>,
}

/// Kills the monitor in `rounds` rounds on `host`, a KVM; what is done until when follows from `seed`. Panics when something is
/// not there, or is there that nobody wrote. Returns how many operations were promised in all.
pub fn kill_file_rounds(host: Host, rounds: u64, seed: u64) -> u64 {
    let mut promised = 0;
    for (round, chance) in (0..rounds).zip(Chances::new(seed)) {
        let options = OPTIONS[round as usize % OPTIONS.len()];
        let nth = match options.rsplit(',').next() {
            Some("torn=") => format!("{}", 1 + (chance >> 32) % 60),
            Some("fail_nth=") => format!("{}", MOUNTED + (chance >> 32) % 60),
            _ => String::new(),
        };
        promised += kill_round(host, &format!("{options}{nth}"), chance);
    }
    promised
}

fn kill_round(host: Host, options: &str, seed: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    let path = folder.path().join("data.img");
    make(&path);
    let mut command = Command::new(vmm());
    command.arg("run").args(host.options()).env("TMPDIR", folder.path());
    command.args(["--cpus", "1", "--mem", "64M", "--timeout", "300"]);
    let seed = seed % 1_000_000;
    let script = format!("file journal j seed={seed}");
    command.args(["--disk", &format!("{}{options}", path.display()), "--run", &script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let output = child.stdout.take().unwrap_or_else(|| panic!("{command:?} has no output"));
    let (first, promise) = mpsc::channel();
    let reader = std::thread::spawn(move || listen(BufReader::new(output), &first));
    // Where a table was torn there may be none.
    let _ = promise.recv_timeout(PATIENCE);
    std::thread::sleep(Duration::from_micros(seed * 7919 % (SPAN_MS * 1000)));
    child.kill().unwrap_or_else(|error| panic!("cannot kill {command:?}: {error}"));
    let _ = child.wait();
    let said = reader.join().unwrap_or_else(|_| panic!("the output of {command:?} cannot be read"));
    let about = format!("seed={seed} {options} synced={}", said.synced);
    assert!(said.wrong.is_empty(), "{about}: {:?}", said.wrong);
    assert!(
        said.told.iter().all(|&times| times <= 1),
        "{about}: one write fails, told {:?} times",
        said.told
    );
    nothing_left(folder.path(), &path);
    check(&path, seed, said.synced, &about);
    said.synced
}

/// A volume with one empty file. Blocks that nobody has written hold what no operation writes.
fn make(path: &Path) {
    let file = FileSpec { name: "j".into(), content: Content::Zeros(0), room: 64 << 10, sparse: false };
    let spec = DataSpec { size: Some(4 << 20), uuid: None, files: vec![file], partitions: vec![] };
    images::make_data(path, &spec, Existing::Replace).unwrap_or_else(|error| panic!("no image: {error}"));
    let facts = images::inspect(path).unwrap_or_else(|error| panic!("{error}"));
    let first = (facts.partitions[0].first_lba + 32 * 8) * 512;
    let end = (facts.partitions[0].last_lba + 1) * 512;
    let image = OpenOptions::new().write(true).open(path).unwrap_or_else(|error| panic!("{error}"));
    let garbage = vec![0xee; (end - first) as usize];
    image.write_all_at(&garbage, first).unwrap_or_else(|error| panic!("{error}"));
}

/// Takes in what the guest says; a line that the kill has cut is no promise.
fn listen(mut output: impl BufRead, first: &mpsc::Sender<()>) -> Said {
    let mut said = Said::default();
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        let number = |name: &str| -> Option<u64> {
            line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        match line.split(['=', ' ', ':']).next().filter(|_| line.ends_with('\n')) {
            Some("synced") => {
                said.synced = number("synced").unwrap_or(said.synced);
                let _ = first.send(());
            }
            Some("failed") => said.told = [number("told").unwrap_or(9), number("other").unwrap_or(9)],
            Some("error" | "bug") => said.wrong.push(line.trim_end().to_owned()),
            _ => {}
        }
        line.clear();
    }
    said
}

/// The file as it may be found: for each word all that it may hold, and the sizes, in words.
struct Expected {
    words: Vec<Vec<u64>>,
    sizes: BTreeSet<u64>,
}

/// After sync number `synced`, up to the next.
fn expected(seed: u64, synced: u64) -> Expected {
    let (mut words, mut size) = (vec![0; WORDS as usize], 0);
    let mut apply = |words: &mut Vec<u64>, n: u64| {
        let next = op(seed, n, size);
        let (from, to) = next.written();
        words[from as usize..to as usize].fill(n);
        let cut = next.size_after(size)..size;
        size = next.size_after(size);
        words[size as usize..].fill(0);
        (next, from..to, cut, size)
    };
    let mut last = 0;
    for n in 1..=synced {
        last = apply(&mut words, n).3;
    }
    let mut found =
        Expected { words: words.iter().map(|&word| vec![word]).collect(), sizes: BTreeSet::from([last]) };
    for n in synced + 1.. {
        let (next, written, cut, size) = apply(&mut words, n);
        written.chain(cut).for_each(|at| found.words[at as usize].push(words[at as usize]));
        found.sizes.insert(size);
        if next == Op::Sync {
            break;
        }
    }
    found
}

/// What a word or the size of the file must not be after sync number `synced` and before the next has returned.
fn wrong(seed: u64, synced: u64, words: &[u64]) -> Option<String> {
    let expected = expected(seed, synced);
    if !expected.sizes.contains(&(words.len() as u64)) {
        return Some(format!("{} words, not of {:?}", words.len(), expected.sizes));
    }
    let mut each = words.iter().zip(&expected.words).enumerate();
    let (at, (word, allowed)) = each.find(|(_, (word, allowed))| !allowed.contains(word))?;
    Some(format!("word {at} is {word:#x}, not of {allowed:?}"))
}

fn check(path: &Path, seed: u64, synced: u64, about: &str) {
    let facts = images::inspect(path).unwrap_or_else(|error| panic!("{about}: {error}"));
    assert!(facts.errors.is_empty(), "{about}: {:?}", facts.errors);
    let mut bytes = Vec::new();
    images::extract(path, "j", &mut bytes).unwrap_or_else(|error| panic!("{about}: {error}"));
    let words = bytes.as_chunks::<{ WORD as usize }>().0.iter();
    let words: Vec<_> = words.map(|&word| u64::from_le_bytes(word)).collect();
    let Some(first) = wrong(seed, synced, &words) else { return };
    // What the guest said last may have been lost with the monitor: then it is as after a later sync.
    let newest = words.iter().copied().filter(|&word| word < synced + LOST).max().unwrap_or(0).max(synced);
    let is_later = |n: &u64| op(seed, *n, WORDS) == Op::Sync && wrong(seed, *n, &words).is_none();
    assert!((synced + 1..=newest + LOST).any(|n| is_later(&n)), "{about}: {first}");
}
