//! Swap storms: contexts that need more than there is, on a disk that is slow and fails, while contexts and the monitor are
//! killed. What is left is right, and every error was told.
//!
//! Owns: the rounds. In each a guest storms until its monitor is killed at a random moment; then another storms on the same
//! image to its end, with sectors that cannot be written. Invariants: after a round the header is as `mkswap` wrote it, and
//! nothing is left but the image.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::chances::Chances;
use crate::kill::{PATIENCE, nothing_left};
use crate::{Guest, Host, vmm};

/// Bytes of the area.
const AREA: u64 = 96 << 20;
/// Most MiB that all contexts have: more than RAM, less than RAM and the area.
const MOST: u64 = 96;
/// The longest time between the first page and the kill, in milliseconds.
const SPAN_MS: u64 = 250;

/// What all rounds came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Storms {
    /// Pages that were looked at and hold what was written.
    pub checked: u64,
    /// Pages that could not be written, and stayed.
    pub write_errors: u64,
    /// Requests that failed on purpose.
    pub failed: u64,
}

/// Storms for `rounds` rounds on `host`, a KVM, which follow from `seed`. Panics when a page is lost, an error is not told,
/// or something is left.
pub fn swap_storms(host: Host, rounds: u64, seed: u64) -> Storms {
    let mut random = Chances::new(seed);
    let mut all = Storms::default();
    for _ in 0..rounds {
        let round = storm(host, &mut random);
        all.checked += round.checked;
        all.write_errors += round.write_errors;
        all.failed += round.failed;
    }
    all
}

fn storm(host: Host, random: &mut Chances) -> Storms {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    let path = folder.path().join("swap.img");
    let spec = images::SwapSpec { size: AREA, label: "storm".into(), ..Default::default() };
    images::make_swap(&path, &spec, images::Existing::Keep).unwrap_or_else(|error| panic!("{error}"));
    let header = first_page(&path);
    killed(host, &path, random);
    assert!(first_page(&path) == header, "the header has changed");
    nothing_left(folder.path(), &path);
    let done = to_the_end(host, &path, random);
    assert!(first_page(&path) == header, "the header has changed");
    done
}

fn first_page(path: &Path) -> [u8; 4096] {
    let mut page = [0; 4096];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut page, 0));
    read.unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    page
}

/// Commands of `steps` random steps; at the end all that is left is looked at.
fn script(random: &mut Chances, steps: u32) -> Vec<String> {
    let (mut commands, mut alive, mut made) = (Vec::new(), Vec::<(String, u64)>::new(), 0);
    for _ in 0..steps {
        let total: u64 = alive.iter().map(|(_, mib)| mib).sum();
        let size = 4 + random.below(28);
        let which = random.below(alive.len().max(1) as u64) as usize;
        match (random.below(6), alive.get(which).cloned()) {
            (0..3, _) | (_, None) if total + size <= MOST && alive.len() < 6 => {
                let name = format!("c{made}");
                made += 1;
                commands.push(format!("ctx new {name}; vm touch {size}M"));
                alive.push((name, size));
            }
            (3, Some((name, _))) => commands.push(format!("ctx use {name}; swap out")),
            (4, Some((name, _))) => {
                // Perhaps while its pages are on their way.
                commands.push(format!("ctx kill {name}"));
                alive.remove(which);
            }
            (_, Some((name, _))) => commands.push(format!("ctx use {name}; vm verify")),
            _ => {}
        }
    }
    commands.extend(alive.iter().map(|(name, _)| format!("ctx use {name}; vm verify")));
    commands.extend(["mm verify".into(), "swap verify".into()]);
    commands
}

/// Half of the storms are of huge pages.
fn parameters(random: &mut Chances) -> &'static str {
    ["swap=vda", "swap=vda transparent_hugepage=never"][random.below(2) as usize]
}

/// Storms until the monitor is killed.
fn killed(host: Host, path: &Path, random: &mut Chances) {
    let script = script(random, 300).join("; ");
    let mut command = Command::new(vmm());
    command.arg("run").args(host.options()).args(["--mem", "64M", "--swap", "none", "--timeout", "120"]);
    command.args(["--append", parameters(random), "--disk", &format!("{},latency=1ms", path.display())]);
    command.args(["--run", &script]).env("TMPDIR", path.parent().unwrap_or(path));
    let blocks = || fs::metadata(path).map_or(0, |facts| facts.blocks());
    let before = blocks();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let start = Instant::now();
    while blocks() == before {
        assert!(start.elapsed() < PATIENCE, "{command:?} has swapped nothing in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_micros(random.below(SPAN_MS * 1000)));
    child.kill().unwrap_or_else(|error| panic!("cannot kill {command:?}: {error}"));
    let _ = child.wait();
}

/// Storms to the end, on a disk with sectors that cannot be written.
fn to_the_end(host: Host, path: &Path, random: &mut Chances) -> Storms {
    let mut options = String::from(",latency=500us");
    for _ in 0..4 {
        // Among those that are used first.
        options += &format!(",error=write@sector:{}", 4096 + random.below(40 << 11));
    }
    let guest =
        Guest::on(host).mem("64M").option("--swap", "none").append(parameters(random)).flag("--stats");
    let commands = script(random, 16);
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let run = guest.disk(path, &options).run(&commands).start().assert_ok();
    let mut done = Storms::default();
    for line in run.all().lines_with("verify=ok checked=") {
        assert_eq!(line.number("wrong"), 0, "{run}");
        done.checked += line.number("checked");
    }
    let swap = run.all().line_with("swap_verify=");
    assert_eq!(swap.fact("swap_verify"), "ok", "{run}");
    done.write_errors = swap.number("write_errors");
    done.failed = run.all().number("disk.disk0.errors");
    // Each request that failed was of one page or more, and each of its pages is told of. Nothing is on its way when the
    // slots are counted, and nobody wants memory afterwards.
    let pages = run.all().number("guest.disk.disk0.swap_out_failed_pages");
    assert_eq!(done.write_errors, pages, "{run}");
    assert!(pages >= done.failed && (pages == 0) == (done.failed == 0), "{run}");
    done
}
