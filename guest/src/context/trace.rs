//! The page faults of contexts: the last ones of each CPU, and how many took which way.
//!
//! Owns: a small ring and a set of counters for each CPU. Invariants: only the CPU itself writes its part, so a fault
//! is recorded with plain stores to lines that no other CPU writes (interrupts have no faults of their own, and a task
//! in a fault is not preempted); who reads a ring while faults go on may see one
//! record mixed with the next.

use crate::arch::cpu::rdtsc;
use crate::arch::percpu::{self, MAX_CPUS};
use core::sync::atomic::{AtomicU64, Ordering};
use mm::fault::{Fault, Flavour, Segv};

/// Records of one CPU.
const RECORDS: usize = 32;
/// The ways of a fault, as they are called in commands.
pub const HANDLERS: [&str; 21] = [
    "anon_zero",
    "anon",
    "cow",
    "wp",
    "huge",
    "huge_zero",
    "hugetlb",
    "shared",
    "spurious",
    "do_swap_page",
    "read",
    "around",
    "cow_file",
    "shared_file",
    "oom",
    "sigbus",
    "maperr",
    "accerr",
    "corrupt",
    "swapin_readahead",
    "wait",
];

const _: () =
    assert!(Flavour::FileShared as usize == 13 && Flavour::COUNT == 14, "the names of the flavours");

/// Which way a fault took, as a place in [`HANDLERS`]: the flavours come first.
#[cold]
#[inline(never)]
pub fn handler(fault: &Fault) -> usize {
    match fault {
        Fault::Minor(flavour) => *flavour as usize,
        Fault::Oom => 14,
        Fault::Sigbus => 15,
        Fault::Segv(Segv::MapErr) => 16,
        Fault::Segv(Segv::AccErr) => 17,
        Fault::Corrupt => 18,
        Fault::InSwap(_) => 19,
        Fault::Wait(_) => 20,
    }
}

/// One fault.
#[derive(Clone, Copy, Default)]
pub struct Record {
    /// When, by the TSC.
    pub when: u64,
    /// On which CPU.
    pub cpu: u32,
    /// What was touched.
    pub address: u64,
    /// The error code of the exception.
    pub code: u64,
    /// The number of the context's memory.
    pub space: u32,
    /// A place in [`HANDLERS`].
    pub handler: usize,
}

/// `when`, `address`, `code`, `space` and `handler` of a record.
type Words = [AtomicU64; 5];

/// What one CPU has recorded, on cache lines of its own.
#[repr(align(64))]
struct Part {
    records: [Words; RECORDS],
    /// How many faults there were.
    count: AtomicU64,
    handlers: [AtomicU64; HANDLERS.len()],
}

static PARTS: [Part; MAX_CPUS] = [const {
    Part {
        records: [const { [const { AtomicU64::new(0) }; 5] }; RECORDS],
        count: AtomicU64::new(0),
        handlers: [const { AtomicU64::new(0) }; HANDLERS.len()],
    }
}; MAX_CPUS];

fn add_one(counter: &AtomicU64) -> u64 {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before + 1, Ordering::Relaxed);
    before
}

/// Records a fault that the running CPU has just handled, in the way at `handler` in [`HANDLERS`].
#[inline(always)]
pub fn record(address: u64, code: u64, space: u32, handler: usize) {
    let Some(part) = PARTS.get(percpu::cpu() as usize) else { return };
    part.handlers.get(handler).into_iter().for_each(|counter| _ = add_one(counter));
    let place = add_one(&part.count) as usize % RECORDS;
    let words = [rdtsc(), address, code, space.into(), handler as u64];
    for (slot, word) in part.records[place].iter().zip(words) {
        slot.store(word, Ordering::Relaxed);
    }
}

/// How many faults took each way of [`HANDLERS`].
pub fn counts() -> [u64; HANDLERS.len()] {
    let mut sum = [0; HANDLERS.len()];
    for part in &PARTS {
        sum.iter_mut().zip(&part.handlers).for_each(|(sum, n)| *sum += n.load(Ordering::Relaxed));
    }
    sum
}

/// The youngest records of all CPUs, the oldest of them first, in as much of `into` as they fill.
pub fn last(into: &mut [Record]) -> &[Record] {
    let mut filled = 0;
    for (cpu, part) in (0..).zip(&PARTS) {
        let known = (part.count.load(Ordering::Relaxed) as usize).min(RECORDS);
        for words in part.records.iter().take(known) {
            let [when, address, code, space, handler] =
                words.each_ref().map(|word| word.load(Ordering::Relaxed));
            let (space, handler) = (space as u32, handler as usize);
            let record = Record { when, cpu, address, code, space, handler };
            // The place of the oldest, where all places are taken by younger ones.
            let place = if filled < into.len() { Some(filled) } else { oldest(into, when) };
            if let Some(slot) = place.and_then(|place| into.get_mut(place)) {
                *slot = record;
                filled = (filled + 1).min(into.len());
            }
        }
    }
    let records = into.get_mut(..filled).unwrap_or_default();
    records.sort_unstable_by_key(|record| record.when);
    records
}

/// The place of the oldest record, if that is older than `when`.
fn oldest(records: &[Record], when: u64) -> Option<usize> {
    let (place, record) = records.iter().enumerate().min_by_key(|(_, record)| record.when)?;
    (record.when < when).then_some(place)
}
