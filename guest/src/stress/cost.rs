//! What traps cost here: a gate round trip, a page fault with its mapping, a section under the soft mask.
//!
//! Least of several batches, so that what the host does meanwhile does not count.

use super::{PAGES, begin_faults, empty_window, end_faults, me, window};
use crate::arch::{cpu, irq, time};
use crate::console;
use mm::addr::PAGE_SIZE;

const BATCHES: u64 = 8;
const CALLS: u64 = 64;

fn least(mut batch: impl FnMut(u64), calls: u64) -> u64 {
    let one = |n| {
        let start = cpu::rdtsc();
        batch(n);
        cpu::rdtsc().wrapping_sub(start)
    };
    time::tsc_to_ns((0..BATCHES).map(one).min().unwrap_or(0)) / calls
}

/// Measures and prints; false without memory for it.
pub fn run() -> bool {
    let Some(session) = begin_faults() else { return false };
    let mask = least(
        |_| {
            for _ in 0..CALLS {
                irq::disable();
                irq::enable();
            }
        },
        CALLS,
    );
    let gate = least(|_| (0..CALLS).for_each(|_| cpu::gate_round_trip()), CALLS);
    let pages = PAGES / BATCHES;
    let fault = least(
        |batch| {
            for page in batch * pages..(batch + 1) * pages {
                let at = (window(me()) + page * PAGE_SIZE) as *mut u64;
                // SAFETY: the window's pages are mapped to a frame of ours by the fault handler.
                unsafe { at.write_volatile(page) };
            }
        },
        pages,
    );
    empty_window();
    end_faults(session);
    console::print(format_args!("ring={} mask_ns={mask} gate_ns={gate} fault_ns={fault}\n", cpu::ring()));
    true
}
