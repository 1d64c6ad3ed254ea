//! Threads that are common to all disks: `writeback=pdflush`.
//!
//! Owns: the tasks, and who does what. A job is what is due of one kind on one disk; one task does it at a time. Stays outside:
//! how many tasks there are (`mm::dirty::Pool`), what is due (`mm::writeback`).

use super::{DISKS, Seen, disks, home};
use crate::machine::CPU;
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use crate::task::{self, Handle, Mutex};
use crate::{report, settings};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm::dirty::Pool;
use mm::port::Cpu;
use mm::writeback::FlushKind;

/// Tasks that `pdflush.max` can ask for.
const MOST: usize = 64;
/// The longest that a task sleeps before it sees whether it should go.
const LOOK_NS: u64 = 1_000_000_000;
/// How long a task waits when nothing of what is due could be written: others are at it.
const PAUSE_NS: u64 = 100_000_000;

static POOL: Pool = Pool::new();
static TASKS: Mutex<[Option<Handle>; MOST]> = Mutex::new([const { None }; MOST]);
/// What somebody has asked for and one of them has done.
static ALL: AtomicU64 = AtomicU64::new(0);
/// Whether somebody does this job.
static TAKEN: [[AtomicBool; KINDS.len()]; DISKS] =
    [const { [const { AtomicBool::new(false) }; KINDS.len()] }; DISKS];
const KINDS: [FlushKind; 2] = [FlushKind::Background, FlushKind::Old];

/// Starts the pool, unless it runs.
pub fn start() {
    let number = |name, default| settings::number(name).unwrap_or(default) as u32;
    let missing = POOL.open(&CPU, number("pdflush.min", 2), number("pdflush.max", 8));
    (0..missing).for_each(|_| spawn());
}

/// How many there are.
pub fn threads() -> u32 {
    POOL.threads(&CPU)
}

/// Starts one that is counted already, in the place of one that has gone.
fn spawn() {
    let mut tasks = TASKS.lock();
    for slot in tasks.iter_mut() {
        if let Some(gone) = slot.take_if(|task| task.is_dead()) {
            gone.join();
        }
    }
    let started = tasks.iter_mut().find(|slot| slot.is_none()).and_then(|slot| {
        *slot = Some(task::spawn("pdflush", home(), run, 0).ok()?);
        Some(())
    });
    if started.is_none() {
        POOL.lost(&CPU);
        report::unable(format_args!("no pdflush"));
    }
}

/// A job that is taken until this is dropped.
struct Job {
    disk: usize,
    kind: usize,
}

impl Drop for Job {
    fn drop(&mut self) {
        TAKEN[self.disk][self.kind].store(false, Ordering::Release);
    }
}

/// Something that is due and that nobody does.
fn find() -> Option<Job> {
    disks().find_map(|(disk, device)| {
        let is_free = |kind: &usize| !TAKEN[disk][*kind].load(Ordering::Relaxed);
        let mut due = (0..KINDS.len()).filter(is_free).filter(|&kind| VM.has_due(device, KINDS[kind]));
        due.find(|&kind| !TAKEN[disk][kind].swap(true, Ordering::Acquire)).map(|kind| Job { disk, kind })
    })
}

/// Does what is due, job after job, until nothing is left that nobody does; whether there was something.
fn work() -> bool {
    let Some(mut job) = find() else { return false };
    POOL.begins(&CPU, CPU.now());
    loop {
        let device = disks().find(|&(disk, _)| disk == job.disk);
        let done = device.map(|(_, device)| VM.flush_some(device, KINDS[job.kind], &FRAMES));
        if done.unwrap_or_default().pages == 0 {
            CPU.wait_for(PAUSE_NS);
        }
        drop(job);
        let Some(next) = find() else { break };
        job = next;
        // With this one there is something left for another.
        if let Some(left) = find() {
            drop(left);
            if POOL.grows(&CPU, CPU.now()) {
                spawn();
            }
        }
    }
    POOL.ends(&CPU);
    true
}

fn run(_: usize) {
    let (mut seen, mut idle_since) = (Seen::now(), CPU.now());
    loop {
        if seen.wait(LOOK_NS) {
            // One of them does what all were asked for.
            let is_asked = ALL.fetch_max(seen.all, Ordering::Relaxed) < seen.all;
            if is_asked {
                for (_, disk) in disks() {
                    VM.flush_all(disk, &FRAMES);
                }
            }
            if work() || is_asked {
                idle_since = CPU.now();
            }
        }
        if POOL.shrinks(&CPU, CPU.now(), idle_since) {
            return;
        }
    }
}
