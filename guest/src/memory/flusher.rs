//! The tasks that write behind: the guest's side of `mm::writeback`.
//!
//! Owns: one task for each disk that somebody writes to, named as Linux does (`flush-254:0`). Stays outside: what is due.
//! While nothing is dirty a flusher looks as seldom as `vm.dirty_writeback_centisecs` says, otherwise ten times a second, and
//! whenever a writer wakes it.

use super::slab::FRAMES;
use super::vm::{CACHE, STAT, VM};
use crate::arch::smp;
use crate::drivers::blk;
use crate::machine::CPU;
use crate::{report, task};
use core::sync::atomic::{AtomicBool, Ordering};
use mm::port::{BlockDevice, Cpu};
use mm::vmstat::NodeStat;

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
static RUNS: [AtomicBool; DISKS] = [const { AtomicBool::new(false) }; DISKS];

/// How often a flusher looks while something is dirty.
const LOOK_NS: u64 = 100_000_000;
/// How often it looks whether it has been switched on.
const OFF_NS: u64 = 1_000_000_000;

/// Starts the flusher of a disk, unless it runs.
pub fn start(device: &dyn BlockDevice) {
    let is_it =
        |disk: &&blk::Disk| core::ptr::from_ref(*disk).cast::<()>() == core::ptr::from_ref(device).cast();
    let Some(index) = blk::disks().position(|disk| is_it(&disk)).filter(|index| *index < DISKS) else {
        return;
    };
    if RUNS[index].swap(true, Ordering::AcqRel) {
        return;
    }
    // Commands begin on the first CPU, and kernel code gives way only where it sleeps.
    if task::spawn(NAMES[index], smp::online() - 1, run, index).is_err() {
        report::unable(format_args!("no {}", NAMES[index]));
    }
}

fn run(index: usize) {
    let Some(disk) = blk::disks().nth(index) else { return };
    let dirty = CACHE.dirty();
    let (mut seen, mut seen_all) = (dirty.wanted(), dirty.wanted_all());
    let mut slept = 0;
    loop {
        if dirty.wanted_all() != seen_all {
            seen_all = dirty.wanted_all();
            VM.flush_all(disk, &FRAMES);
        }
        let interval = dirty.settings.interval_ns();
        if dirty.wanted() != seen || interval.is_some_and(|interval| slept >= interval) {
            seen = dirty.wanted();
            slept = 0;
            VM.flush_due(disk, &FRAMES);
        }
        let is_dirty = STAT.total(NodeStat::Dirty) != 0;
        let ns = if is_dirty { LOOK_NS } else { interval.unwrap_or(OFF_NS) };
        let ns = ns.min(interval.unwrap_or(OFF_NS).max(1));
        let start = CPU.now();
        CPU.wait_on_for(dirty.key(), ns, &mut || dirty.wanted() != seen || dirty.wanted_all() != seen_all);
        slept += CPU.now() - start;
    }
}
