//! The task that gives clusters of slots back to their disks when nothing is in them any more (Linux `discard_work`).
//!
//! Owns: that there is one, from the first area on that wants it. Stays outside: which clusters those are (`mm::swap`).

use crate::memory::slab::FRAMES;
use crate::memory::vm::SWAP;
use crate::task;
use core::sync::atomic::{AtomicBool, Ordering};

/// Starts it, unless it runs.
pub(super) fn start() {
    static IS_STARTED: AtomicBool = AtomicBool::new(false);
    // Without it clusters are given back by whoever needs slots.
    if !IS_STARTED.swap(true, Ordering::Relaxed) && task::spawn("kdiscard", 0, run, 0).is_err() {
        IS_STARTED.store(false, Ordering::Relaxed);
    }
}

fn run(_: usize) {
    loop {
        SWAP.wait_for_freed();
        let _ = SWAP.discard_freed(&FRAMES);
    }
}
