//! `bench xarray`: entries stored and looked up.
//!
//! As Linux was measured: 65,536 entries stored in order, nodes and all; then looked up in random order.

use super::Least;
use crate::commands::support::Random;
use crate::commands::{Outcome, fail};
use crate::console;
use crate::machine::{Kernel, MACHINE};
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use core::hint::black_box;
use mm::phys::GfpFlags;
use mm::port::Machine as _;
use mm::reclaim::Reclaiming;
use mm::sync::rcu::read_lock;
use mm::xarray::{Entry, Source, XArray};
use shared::exit::ExitStatus;

/// Entries of the array.
const ENTRIES: u64 = 65_536;
/// Lookups of one round.
const LOOKUPS: u64 = 64;

type Supply<'a> = Source<'a, 'static, 'static, Kernel, Reclaiming<'static, Kernel>>;

/// Runs it.
pub fn xarray(rounds: u64) -> Outcome {
    let no_memory = || fail(ExitStatus::CheckFailed, format_args!("bench xarray: not enough memory"));
    let Some(nodes) = VM.nodes() else { return Err(no_memory()) };
    let source = nodes.with(&FRAMES, GfpFlags::GFP_KERNEL);
    let array = XArray::new();
    let (mut store, mut load) = (Least::of(ENTRIES), Least::of(LOOKUPS));
    let mut stored = true;
    for round in 0..rounds {
        array.destroy(nodes);
        nodes.settle();
        store.time(0, || stored &= (0..ENTRIES).all(|index| put(&array, &source, index)));
        let mut random = Random::new(round);
        let indices = [(); LOOKUPS as usize].map(|()| random.below(ENTRIES));
        load.time(0, || indices.iter().for_each(|&index| stored &= get(&array, index)));
    }
    array.destroy(nodes);
    nodes.settle();
    if !stored {
        return Err(no_memory());
    }
    console::print(format_args!("xarray_load={load} xarray_store={store}\n"));
    Ok(())
}

#[inline(always)]
fn put(array: &XArray, source: &Supply<'_>, index: u64) -> bool {
    let entry = Entry::handle(index + 1).unwrap_or(Entry::NULL);
    array.store(source, black_box(index), entry).is_ok()
}

#[inline(always)]
fn get(array: &XArray, index: u64) -> bool {
    !array.load(&read_lock(MACHINE.cpu()), black_box(index)).is_null()
}
