//! `bench vmalloc`: areas made and freed.
//!
//! Freed areas cost their flush and their frames later, so a round is as long as several purges, and its mean is the
//! cost of a pair with everything in it.

use super::Least;
use crate::commands::Outcome;
use crate::console;
use crate::memory::areas::{self, AREAS};
use mm::addr::VirtAddr;

/// Pairs of one round.
const PAIRS: u64 = 4096;
/// Areas held at the same time.
const HELD: usize = 256;

fn pair(bytes: u64) {
    if let Ok(at) = areas::vmalloc(bytes) {
        // A free that is refused shows in the count of used pages.
        let _ = areas::vfree(at);
    }
}

fn least_pair(bytes: u64, pairs: u64, rounds: u64) -> Least {
    let mut least = Least::of(pairs);
    for _ in 0..rounds {
        least.time(0, || (0..pairs).for_each(|_| pair(bytes)));
    }
    least
}

/// Runs it.
pub fn vmalloc(rounds: u64) -> Outcome {
    for (key, bytes, pairs) in [
        ("vmalloc_4k_pair", 4 << 10, PAIRS),
        ("vmalloc_16k_pair", 16 << 10, PAIRS),
        ("vmalloc_64k_pair", 64 << 10, PAIRS / 4),
        ("vmalloc_2m_pair", 2 << 20, 64),
    ] {
        console::print(format_args!("{key}={}\n", least_pair(bytes, pairs, rounds)));
    }
    let mut held = [VirtAddr::default(); HELD];
    let (mut alloc, mut free) = (Least::of(HELD as u64), Least::of(HELD as u64));
    for _ in 0..rounds {
        alloc.time(0, || held.iter_mut().for_each(|at| *at = areas::vmalloc(16 << 10).unwrap_or_default()));
        free.time(0, || {
            for at in held {
                let _ = areas::vfree(at);
            }
            AREAS.purge();
        });
    }
    console::print(format_args!("vmalloc_16k_x{HELD}_alloc={alloc} vmalloc_16k_x{HELD}_free={free}\n"));
    Ok(())
}
