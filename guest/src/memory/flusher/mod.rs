//! The tasks that write behind: the guest's side of `mm::writeback`.
//!
//! Owns: one task for each disk that somebody may write to, named as Linux does (`flush-254:0`), or a pool of them for all
//! (`writeback=pdflush`). Stays outside: what is due. They look as often as `vm.dirty_writeback_centisecs` says, and whenever
//! somebody wakes them.
//!
//! | file | job |
//! |---|---|
//! | `pdflush` | the pool |

mod pdflush;

use super::slab::FRAMES;
use super::vm::{CACHE, VM};
use crate::arch::smp;
use crate::drivers::blk;
use crate::machine::CPU;
use crate::settings;
use crate::{report, task};
use core::sync::atomic::{AtomicBool, Ordering};
use mm::port::{BlockDevice, Cpu};
pub use pdflush::threads;
use shared::params::Value;

/// Disks that have a name of their own here.
const DISKS: usize = 8;
const NAMES: [&str; DISKS] = [
    "flush-254:0",
    "flush-254:16",
    "flush-254:32",
    "flush-254:48",
    "flush-254:64",
    "flush-254:80",
    "flush-254:96",
    "flush-254:112",
];
/// How long one sleeps that nobody asks.
const OFF_NS: u64 = 3_600_000_000_000;
static RUNS: [AtomicBool; DISKS] = [const { AtomicBool::new(false) }; DISKS];

/// Sees to it that what is written to a disk reaches it, if nobody does yet.
pub fn start(device: &dyn BlockDevice) {
    let is_it =
        |disk: &&blk::Disk| core::ptr::from_ref(*disk).cast::<()>() == core::ptr::from_ref(device).cast();
    let Some(index) = blk::disks().position(|disk| is_it(&disk)).filter(|index| *index < DISKS) else {
        return;
    };
    if RUNS[index].swap(true, Ordering::AcqRel) {
        return;
    }
    if settings::value("writeback") == Some(Value::Word("pdflush")) {
        pdflush::start();
    } else if task::spawn(NAMES[index], home(), run, index).is_err() {
        report::unable(format_args!("no {}", NAMES[index]));
    }
}

/// Where they run: commands begin on the first CPU, and kernel code gives way only where it sleeps.
fn home() -> u32 {
    smp::online() - 1
}

/// The disks that are written behind.
fn disks() -> impl Iterator<Item = (usize, &'static blk::Disk)> {
    let runs = |index: usize| RUNS.get(index).is_some_and(|runs| runs.load(Ordering::Acquire));
    blk::disks().enumerate().filter(move |&(index, _)| runs(index))
}

/// What somebody has asked for, as of the last look.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    due: u64,
    all: u64,
}

impl Seen {
    fn now() -> Self {
        let dirty = CACHE.dirty();
        Self { due: dirty.wanted(), all: dirty.wanted_all() }
    }

    /// Waits until it is time to look, `longest` at most, or until somebody asks; whether to look, which nobody does unasked
    /// while that is off.
    fn wait(&mut self, longest: u64) -> bool {
        let dirty = CACHE.dirty();
        let (interval, before) = (dirty.settings.interval_ns(), *self);
        let ns = interval.unwrap_or(OFF_NS).min(longest);
        CPU.wait_on_for(dirty.key(), ns, &mut || Self::now() != before);
        // Who asks while this one works is heard afterwards.
        *self = Self::now();
        *self != before || interval.is_some()
    }
}

fn run(index: usize) {
    let Some(disk) = blk::disks().nth(index) else { return };
    let mut seen = Seen::now();
    loop {
        let before = seen;
        if seen.wait(OFF_NS) {
            if seen.all != before.all {
                VM.flush_all(disk, &FRAMES);
            }
            VM.flush_due(disk, &FRAMES);
        }
    }
}
