//! `slab churn`: what a long run of allocations and frees at random leaves of the slabs.
//!
//! Owns: the run and the measure: which part of the slabs is objects in use. The same seed gives the same run.

use super::exercise::{give, no_memory, own_cache};
use crate::commands::support::{Random, Words, parse};
use crate::commands::{Args, Outcome};
use crate::console;
use crate::memory::slab;
use mm::phys::GfpFlags;
use mm::slab::Cache;

const DEFAULT_OPS: u64 = 300_000;
/// Half of these hold an object at any time.
const SLOTS: usize = 8192;
const SIZE: u32 = 64;

/// `slab churn [ops=N] [seed=N]`.
pub fn churn(args: &mut Args<'_>) -> Outcome {
    let (mut ops, mut seed) = (DEFAULT_OPS, 1);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("ops", Some(text)) => ops = parse::count("ops", text)?,
            ("seed", Some(text)) => seed = parse::number("seed", text)?,
            _ => return Err(parse::unexpected("slab churn", word)),
        }
    }
    let cache = own_cache("slab_churn", SIZE, None)?;
    let Some(mut table) = Words::alloc(SLOTS) else { return Err(no_memory()) };
    let Some(slots) = table.get_mut(..SLOTS) else { return Err(no_memory()) };
    let mut random = Random::new(seed);
    for _ in 0..ops {
        let Some(slot) = slots.get_mut(random.below(SLOTS as u64) as usize) else { continue };
        if *slot == 0 {
            *slot = slab::alloc(cache, GfpFlags::GFP_KERNEL).map_or(0, |object| object.as_ptr() as u64);
        } else {
            give(cache, core::mem::take(slot));
        }
    }
    show("during", cache);
    slots.iter_mut().for_each(|slot| give(cache, core::mem::take(slot)));
    slab::SLABS.flush_all(cache);
    slab::SLABS.shrink(cache);
    show("after", cache);
    console::print(format_args!("churn: ops={ops} seed={seed} allocs={}\n", cache.stats().allocs));
    Ok(())
}

/// Prints which part of the slabs is in use.
fn show(when: &str, cache: &Cache) {
    let stats = cache.stats();
    let permille = stats.active_objects * 1000 / stats.objects.max(1);
    console::print(format_args!(
        "{when}: objects={} slabs={} room={} used={}.{}%\n",
        stats.active_objects,
        stats.slabs,
        stats.objects,
        permille / 10,
        permille % 10
    ));
}
