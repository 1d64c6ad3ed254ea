//! The task in which contexts end whose last holder must not end them himself (what a victim of Linux's OOM killer does in
//! `do_exit`).
//!
//! Owns: which contexts wait for that. Stays outside: who holds a context. To end one closes files, which sleeps on their locks;
//! whoever makes room for others, and looks at contexts to find one that may go, may hold just those. Invariants: a context is
//! handed over once, by its last holder, and counts as ending until its memory is back.

use super::{MAX_MMS, end};
use crate::arch::smp;
use crate::machine::CPU;
use crate::{report, task};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use mm::port::Cpu;

const BITS: usize = u64::BITS as usize;

/// Contexts that were handed over, by number.
static HANDED_OVER: [AtomicU64; MAX_MMS.div_ceil(BITS)] =
    [const { AtomicU64::new(0) }; MAX_MMS.div_ceil(BITS)];
/// How many of them still have memory.
static ENDING: AtomicU32 = AtomicU32::new(0);

/// What is slept on for any of that to change.
fn key() -> u64 {
    (&raw const ENDING).addr() as u64
}

/// There is somebody to hand contexts over to.
static RUNS: AtomicBool = AtomicBool::new(false);

/// Starts the task, on a CPU that commands do not begin on. Once.
pub(super) fn start() {
    match task::spawn("oom_reaper", smp::online().saturating_sub(1), run, 0) {
        Ok(_) => RUNS.store(true, Ordering::Release),
        Err(_) => report::unable(format_args!("no oom_reaper")),
    }
}

/// The context with this number, which has no holder, shall end soon; false if there is nobody to end it.
pub(super) fn hand_over(id: u32) -> bool {
    if !RUNS.load(Ordering::Acquire) {
        return false;
    }
    ENDING.fetch_add(1, Ordering::Relaxed);
    if let Some(word) = HANDED_OVER.get(id as usize / BITS) {
        word.fetch_or(1 << (id as usize % BITS), Ordering::Release);
    }
    CPU.wake(key());
    true
}

/// Whether contexts are ending.
pub(super) fn is_busy() -> bool {
    ENDING.load(Ordering::Acquire) != 0
}

/// Waits until no context is ending, so that their memory is there again. Only without locks that are slept on.
pub fn settle() {
    while is_busy() {
        CPU.wait_on(key(), &mut || !is_busy());
    }
}

fn run(_: usize) {
    let is_asked = || HANDED_OVER.iter().any(|word| word.load(Ordering::Acquire) != 0);
    loop {
        CPU.wait_on(key(), &mut || is_asked());
        for (n, word) in HANDED_OVER.iter().enumerate() {
            let mut handed_over = word.swap(0, Ordering::AcqRel);
            while handed_over != 0 {
                end((n * BITS) as u32 + handed_over.trailing_zeros());
                handed_over &= handed_over - 1;
                ENDING.fetch_sub(1, Ordering::Release);
            }
        }
        CPU.wake(key());
    }
}
