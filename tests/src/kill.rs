//! Power cuts: a monitor that is killed while its guest writes loses nothing that it has called stable.
//!
//! Owns: the rounds. The guest writes numbered records, flushes after each, and prints the number once the flush has
//! completed (`disk journal`). The host kills the monitor at a random moment and looks at the image.
//! Invariants: after a round nothing is left but the image: no file, no process, no lock.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::chances::Chances;
use crate::{Host, vmm};

/// Bytes of a record; see `disk journal`.
const RECORD: usize = 4096;
const RECORDS: u64 = 256;
/// The longest time between the first record and the kill, in milliseconds.
const SPAN_MS: u64 = 60;
/// How long the guest may take to its first record.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The ways of doing I/O; the rounds take turns.
const OPTIONS: [&str; 4] = ["", ",io=threads", ",cache=none", ",cache=none,io=threads"];

/// Kills the monitor in `rounds` rounds on `host`, a KVM, at moments that follow from `seed`. Panics when a record is missing
/// or something is left behind. Returns how many records were promised in all.
pub fn kill_rounds(host: Host, rounds: u64, seed: u64) -> u64 {
    let mut promised = 0;
    for (round, chance) in (0..rounds).zip(Chances::new(seed)) {
        let options = OPTIONS[round as usize % OPTIONS.len()];
        promised += kill_round(host, options, Duration::from_micros(chance % (SPAN_MS * 1000)));
    }
    promised
}

fn kill_round(host: Host, options: &str, delay: Duration) -> u64 {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    let path = folder.path().join("journal.img");
    let made = File::create(&path).and_then(|file| file.set_len(RECORDS * RECORD as u64));
    made.unwrap_or_else(|error| panic!("no image: {error}"));
    let mut command = Command::new(vmm());
    command.arg("run").args(host.options()).env("TMPDIR", folder.path());
    command.args(["--cpus", "1", "--mem", "64M", "--swap", "16M", "--timeout", "120"]);
    command.args(["--disk", &format!("{}{options}", path.display()), "--run", "disk journal vda"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let output = child.stdout.take().unwrap_or_else(|| panic!("{command:?} has no output"));
    let reader = std::thread::spawn(move || last_number(BufReader::new(output)));
    let start = Instant::now();
    while record(&path, 1) == 0 {
        assert!(start.elapsed() < PATIENCE, "{command:?} has written nothing in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(delay);
    // It cannot have ended by itself: the journal has no end.
    child.kill().unwrap_or_else(|error| panic!("cannot kill {command:?}: {error}"));
    let _ = child.wait();
    let promised = reader.join().unwrap_or_else(|_| panic!("the output of {command:?} cannot be read"));
    check(&path, promised, options);
    nothing_left(folder.path(), &path);
    promised
}

/// The last number promised; a line that the kill has cut is no promise.
fn last_number(mut output: impl BufRead) -> u64 {
    let mut last = 0;
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if let Some(number) =
            line.strip_suffix('\n').and_then(|line| line.trim_end().strip_prefix("flushed="))
        {
            last = number.parse().unwrap_or_else(|_| panic!("not a number: {line:?}"));
        }
        line.clear();
    }
    last
}

/// What record place `n` begins with.
fn record(path: &Path, n: u64) -> u64 {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let at = (n % RECORDS) as usize * RECORD;
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Every record up to `promised` is in the image, whole, unless a later one has taken its place.
fn check(path: &Path, promised: u64, options: &str) {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    for n in promised.saturating_sub(RECORDS - 1).max(1)..=promised {
        let at = (n % RECORDS) as usize * RECORD;
        let words = bytes[at..at + RECORD].chunks_exact(8);
        let words = words.map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        // The one after the last promise may be under way, in the place of the one a whole round before.
        let next = n + RECORDS;
        let whole = words.clone().all(|word| word == n || next <= promised + 1 && word == next);
        assert!(
            whole,
            "record {n} of {promised} is not in the image ({options:?}): {:x?}",
            words.take(4).collect::<Vec<_>>()
        );
    }
}

/// No file but the image, nobody who has it open.
pub(crate) fn nothing_left(folder: &Path, path: &Path) {
    let names =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    let names: Vec<_> = names.flatten().map(|entry| entry.path()).filter(|name| name != path).collect();
    assert!(names.is_empty(), "left behind: {names:?}");
    let file = File::open(path).unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
    // The lock is held as long as any process has the monitor's descriptor, and as long as the kernel has not finished
    // what a ring of the dead process had begun.
    let start = Instant::now();
    while file.try_lock().is_err() {
        assert!(start.elapsed() < PATIENCE, "somebody still holds {}", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}
