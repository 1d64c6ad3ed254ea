//! `bench`: how long things take on this machine, in units of the time-stamp counter.
//!
//! Owns: the loops. Each number is the least of many rounds, less what reading the counter costs, so it is the cost
//! without disturbance. Every number is per operation, to a tenth.

mod cache;
mod counted;
mod fault;
mod filemap;
mod vmalloc;
mod xarray;

use super::support::{Random, Words, parse};
use super::{Args, Command, Outcome, fail, usage};
use crate::arch::cpu::rdtsc;
use crate::memory::PHYS;
use crate::{arch, console, report};
use core::fmt;
use mm::addr::{Order, Pfn};
use mm::phys::{FreeError, GfpFlags};
use shared::exit::ExitStatus;

/// The family.
pub const BENCH: &[Command] = &[Command {
    name: "bench",
    usage: "buddy|slab|vmalloc|xarray|fault|cache|filemap|miss|swap [rounds=N]",
    summary: "cost of pages: pairs, 4096 at a time, past the CPU's lists; of objects, areas, entries, page faults and reads; miss and swap for a counter outside",
    run: bench,
}];

const DEFAULT_ROUNDS: u64 = 2000;
const VMALLOC_ROUNDS: u64 = 5;
const FAULT_ROUNDS: u64 = 3;
const XARRAY_ROUNDS: u64 = 5;
const CACHE_ROUNDS: u64 = 5;
const COUNTED_ROUNDS: u64 = 5;
/// Pairs of one round.
const PAIRS: u64 = 64;
/// Pages of one bulk round.
const BULK: usize = 4096;
/// Pages that one call allocates.
const AT_ONCE: usize = 64;
/// Blocks of frame descriptors that are initialised in one round.
const DEFERRED: u32 = 16;
/// Bulk rounds for each round of pairs: one in so many.
const BULK_ONE_IN: u64 = 50;

fn bench(args: &mut Args<'_>) -> Outcome {
    let (run, mut rounds): (fn(u64) -> Outcome, _) = match args.next_word() {
        Some("buddy") => (buddy, DEFAULT_ROUNDS),
        Some("slab") => (super::slab::counts, DEFAULT_ROUNDS),
        Some("vmalloc") => (vmalloc::vmalloc, VMALLOC_ROUNDS),
        Some("xarray") => (xarray::xarray, XARRAY_ROUNDS),
        Some("fault") => (fault::fault, FAULT_ROUNDS),
        Some("cache") => (cache::cache, CACHE_ROUNDS),
        Some("filemap") => (filemap::filemap, FAULT_ROUNDS),
        Some("miss") => (counted::miss, COUNTED_ROUNDS),
        Some("swap") => (counted::swap, COUNTED_ROUNDS),
        other => {
            let other = other.unwrap_or("nothing");
            let known = "buddy, slab, vmalloc, xarray, fault, cache, filemap, miss or swap";
            return Err(usage(format_args!("bench: expected {known}, not '{other}'")));
        }
    };
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("rounds", Some(text)) => rounds = parse::count("rounds", text)?,
            _ => return Err(parse::unexpected("bench", word)),
        }
    }
    run(rounds)
}

/// The least of many measurements of `ops` operations each.
pub struct Least {
    /// The least so far, in time-stamp units.
    pub tsc: u64,
    ops: u64,
}

impl Least {
    /// Of measurements of `ops` operations each.
    pub fn of(ops: u64) -> Self {
        Self { tsc: u64::MAX, ops }
    }

    /// Takes a measurement that was made elsewhere.
    pub fn take(&mut self, tsc: u64) {
        self.tsc = self.tsc.min(tsc);
    }

    /// Measures `run`, less what reading the counter costs.
    pub fn time(&mut self, empty: u64, run: impl FnOnce()) {
        let start = rdtsc();
        run();
        let taken = rdtsc().wrapping_sub(start);
        self.tsc = self.tsc.min(taken.saturating_sub(empty));
    }
}

impl fmt::Display for Least {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.tsc.saturating_mul(10) / self.ops;
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}

fn freed(result: Result<(), FreeError>) {
    if let Err(error) = result {
        report::corruption(format_args!("{error}"));
    }
}

/// At the place of the call, as in code that knows the order.
#[inline(always)]
fn pair(order: Order) {
    if let Ok(frames) = PHYS.alloc_pages(GfpFlags::GFP_KERNEL, order) {
        freed(PHYS.free_pages(frames));
    }
}

fn buddy(rounds: u64) -> Outcome {
    let mut empty = Least::of(1);
    for _ in 0..rounds {
        empty.time(0, || {});
    }
    frame_init(empty.tsc);
    let (mut order0, mut order9) = (Least::of(PAIRS), Least::of(PAIRS));
    for _ in 0..rounds {
        order0.time(empty.tsc, || (0..PAIRS).for_each(|_| pair(Order::ZERO)));
        order9.time(empty.tsc, || (0..PAIRS).for_each(|_| pair(Order::PAGEBLOCK)));
    }
    console::print(format_args!(
        "unit=tsc tsc_khz={} empty={empty} rounds={rounds}\n",
        arch::time::tsc_khz()
    ));
    console::print(format_args!("order0_pair={order0} order9_pair={order9}\n"));
    let mut at_once = Least::of(AT_ONCE as u64);
    for _ in 0..rounds {
        let mut pages = [const { None }; AT_ONCE];
        at_once.time(empty.tsc, || {
            PHYS.alloc_pages_bulk(GfpFlags::GFP_KERNEL, &mut pages);
        });
        pages.into_iter().flatten().for_each(|page| freed(PHYS.free_pages(page)));
    }
    console::print(format_args!("bulk_api={at_once}\n"));
    let Some(mut pages) = Words::alloc(BULK) else { return Err(no_memory()) };
    let mut bulk = Bulk::new();
    for round in 0..rounds.div_ceil(BULK_ONE_IN) {
        if !bulk.round(&mut pages, empty.tsc, round) {
            return Err(no_memory());
        }
    }
    console::print(format_args!(
        "order0_alloc_drained={} order0_free_drained={}\n",
        bulk.alloc_drained, bulk.free_drained
    ));
    console::print(format_args!(
        "bulk={BULK} order0_alloc={} order0_free_in_order={} order0_free_random={}\n",
        bulk.alloc, bulk.free_in_order, bulk.free_random
    ));
    Ok(())
}

/// The cost of a frame descriptor's initialisation, which boot defers, per page. Prints nothing when all memory is in
/// use already.
fn frame_init(empty: u64) {
    let pages = u64::from(DEFERRED) << Order::MAX.get();
    let mut init = Least::of(pages);
    let mut left = PHYS.take_in_deferred(0);
    while left >= DEFERRED {
        init.time(empty, || left = PHYS.take_in_deferred(DEFERRED));
    }
    if init.tsc != u64::MAX {
        console::print(format_args!("frame_init={init}\n"));
    }
}

fn no_memory() -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("bench buddy: not enough memory for {BULK} pages"))
}

struct Bulk {
    alloc: Least,
    free_in_order: Least,
    free_random: Least,
    /// With empty lists at the start.
    alloc_drained: Least,
    /// In random order, with the way from the lists to the zones.
    free_drained: Least,
}

impl Bulk {
    fn new() -> Self {
        let least = || Least::of(BULK as u64);
        Self {
            alloc: least(),
            free_in_order: least(),
            free_random: least(),
            alloc_drained: least(),
            free_drained: least(),
        }
    }

    /// Allocates all and frees all: in order, in random order, and in random order past the CPU's lists. False
    /// without memory.
    fn round(&mut self, pages: &mut [u64], empty: u64, seed: u64) -> bool {
        let Some(pages) = pages.get_mut(..BULK) else { return false };
        for way in [Way::InOrder, Way::Random, Way::Drained] {
            let alloc = if way == Way::Drained { &mut self.alloc_drained } else { &mut self.alloc };
            if way == Way::Drained {
                PHYS.drain_local_pages();
            }
            alloc.time(empty, || take_all(pages));
            if pages.contains(&0) {
                give_all(pages);
                return false;
            }
            if way != Way::InOrder {
                shuffle(pages, &mut Random::new(seed));
            }
            match way {
                Way::InOrder => self.free_in_order.time(empty, || give_all(pages)),
                Way::Random => self.free_random.time(empty, || give_all(pages)),
                Way::Drained => self.free_drained.time(empty, || {
                    give_all(pages);
                    PHYS.drain_local_pages();
                }),
            }
        }
        true
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    InOrder,
    Random,
    Drained,
}

fn take_all(pages: &mut [u64]) {
    for slot in pages {
        let frames = PHYS.alloc_pages(GfpFlags::GFP_KERNEL, Order::ZERO);
        *slot = frames.map_or(0, |frames| frames.into_raw().0.get());
    }
}

fn give_all(pages: &mut [u64]) {
    for slot in pages {
        if let Some(pfn) = Pfn::new(core::mem::take(slot)).filter(|pfn| pfn.get() != 0) {
            // SAFETY: `take_all` stored a page that it had allocated, and the slot is empty now.
            freed(PHYS.free_pages(unsafe { PHYS.frames_from_raw(pfn, Order::ZERO) }));
        }
    }
}

/// Fisher and Yates.
pub fn shuffle(pages: &mut [u64], random: &mut Random) {
    for n in (1..pages.len()).rev() {
        pages.swap(n, random.below(n as u64 + 1) as usize);
    }
}
