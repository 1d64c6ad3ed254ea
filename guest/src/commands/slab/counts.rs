//! `bench slab`: cost of objects of 64 bytes, alone and in batches.

use crate::commands::bench::{Least, shuffle};
use crate::commands::support::{Random, Words};
use crate::commands::{Outcome, fail};
use crate::console;
use crate::memory::slab::{self, FRAMES, SLABS};
use core::ptr::NonNull;
use mm::phys::GfpFlags;
use mm::slab::Cache;
use shared::exit::ExitStatus;

const GFP: GfpFlags = GfpFlags::GFP_KERNEL;
const SIZE: usize = 64;
/// Pairs of one round.
const PAIRS: u64 = 64;
/// Objects of a batch.
const BATCH: usize = 10_000;
/// Batches for each round of pairs: one in so many.
const BATCH_ONE_IN: u64 = 100;

/// Measures and prints.
pub fn counts(rounds: u64) -> Outcome {
    let Some(cache) = SLABS.kmalloc_cache(SIZE, GFP) else { return Ok(()) };
    let mut empty = Least::of(1);
    for _ in 0..rounds {
        empty.time(0, || {});
    }
    let (mut pair, mut kmalloc) = (Least::of(PAIRS), Least::of(PAIRS));
    for _ in 0..rounds {
        pair.time(empty.tsc, || (0..PAIRS).for_each(|_| cache_pair(cache)));
        kmalloc.time(empty.tsc, || (0..PAIRS).for_each(|_| kmalloc_pair()));
    }
    let Some(mut words) = Words::alloc(BATCH) else { return Err(no_memory()) };
    let Some(objects) = words.get_mut(..BATCH) else { return Err(no_memory()) };
    let (mut take, mut give) = (Least::of(BATCH as u64), Least::of(BATCH as u64));
    for round in 0..rounds.div_ceil(BATCH_ONE_IN) {
        take.time(empty.tsc, || objects.iter_mut().for_each(|slot| *slot = alloc(cache)));
        let complete = !objects.contains(&0);
        shuffle(objects, &mut Random::new(round));
        give.time(empty.tsc, || objects.iter_mut().for_each(|slot| free(cache, core::mem::take(slot))));
        if !complete {
            return Err(no_memory());
        }
    }
    console::print(format_args!(
        "slab64_pair={pair} kmalloc64_pair={kmalloc} slab64_alloc={take} slab64_free_random={give}\n"
    ));
    Ok(())
}

fn no_memory() -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("bench slab: not enough memory for {BATCH} objects"))
}

#[inline(always)]
fn cache_pair(cache: &'static Cache) {
    if let Ok(object) = SLABS.alloc(cache, &FRAMES, GFP) {
        // SAFETY: allocated just now, and not used.
        slab::expect_freed(unsafe { SLABS.free(cache, core::hint::black_box(object)) });
    }
}

#[inline(always)]
fn kmalloc_pair() {
    if let Ok(object) = SLABS.kmalloc(&FRAMES, SIZE, GFP) {
        // SAFETY: allocated just now, and not used.
        unsafe { slab::kfree(core::hint::black_box(object)) };
    }
}

#[inline(always)]
fn alloc(cache: &'static Cache) -> u64 {
    SLABS.alloc(cache, &FRAMES, GFP).map_or(0, |object| object.as_ptr() as u64)
}

#[inline(always)]
fn free(cache: &'static Cache, object: u64) {
    if let Some(object) = NonNull::new(object as *mut u8) {
        // SAFETY: `alloc` stored an object of this cache, and the slot is empty now.
        slab::expect_freed(unsafe { SLABS.free(cache, object) });
    }
}
