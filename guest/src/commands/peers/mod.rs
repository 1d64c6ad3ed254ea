//! `bench-peers`: our allocators beside those of other kernels, in the same run.
//!
//! Owns: the loops and the numbers. Stays outside: the allocators (`pages`, `objects`, `libs`). Only a guest that is built
//! for this has it (feature `bench-peers`): the product carries no other allocator.
//! Method: all take turns in each round, so that a slow moment hits all; a ratio is the median over the rounds of our
//! time over the other's. Tenths of nanoseconds, for each operation.

mod libs;
mod objects;
mod pages;

use super::support::{Random, Words, parse};
use super::{Args, Command, Outcome, fail};
use crate::arch::{cpu::rdtsc, time};
use crate::console;
use core::hint::black_box;
use shared::exit::ExitStatus;

/// The family.
pub const PEERS: &[Command] = &[Command {
    name: "bench-peers",
    usage: "[rounds=N]",
    summary: "times of our allocators beside those of other kernels",
    run: bench,
}];

const DEFAULT_ROUNDS: u64 = 11;
const MAX_ROUNDS: usize = 31;
/// Pairs of one sample.
const PAIRS: u64 = 2000;
/// Blocks of a batch; one of the others needs time in proportion to it for each block.
const BATCH: usize = 1000;
/// Operations that are timed: a pair, and the two halves of a batch.
const METRICS: [&str; 3] = ["pair", "alloc", "free_random"];

/// An allocator. A block is a number, its address or frame, and never 0.
trait Allocator {
    /// Its name.
    const NAME: &'static str;

    /// Takes a block of `size`: bytes, or an order.
    fn take(&self, size: u32) -> Option<u64>;

    /// Gives a block back.
    ///
    /// # Safety
    /// It was taken from this allocator with this size and is given back once.
    unsafe fn give(&self, block: u64, size: u32);
}

/// An allocator behind a pointer.
trait Subject {
    fn name(&self) -> &'static str;
    /// Time-stamp units of each of [`METRICS`], times ten, for one operation; `None` without memory.
    fn sample(&self, size: u32, blocks: &mut [u64]) -> Option<[u64; METRICS.len()]>;
}

impl<A: Allocator> Subject for A {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn sample(&self, size: u32, blocks: &mut [u64]) -> Option<[u64; METRICS.len()]> {
        let start = rdtsc();
        for _ in 0..PAIRS {
            let block = black_box(self.take(size)?);
            // SAFETY: taken just now.
            unsafe { self.give(block, size) };
        }
        let pair = tenths(start, PAIRS);
        let start = rdtsc();
        for at in 0..blocks.len() {
            let Some(block) = self.take(size) else {
                give_all(self, size, blocks.get_mut(..at).unwrap_or_default());
                return None;
            };
            if let Some(slot) = blocks.get_mut(at) {
                *slot = block;
            }
        }
        let alloc = tenths(start, blocks.len() as u64);
        shuffle(blocks);
        let start = rdtsc();
        give_all(self, size, blocks);
        Some([pair, alloc, tenths(start, blocks.len() as u64)])
    }
}

/// Gives back what was taken from it.
fn give_all<A: Allocator>(to: &A, size: u32, blocks: &mut [u64]) {
    for block in blocks {
        // SAFETY: `sample` has taken these and gives them back once.
        unsafe { to.give(*block, size) };
    }
}

fn tenths(start: u64, ops: u64) -> u64 {
    rdtsc().wrapping_sub(start) * 10 / ops
}

/// Fisher and Yates, the same every time.
fn shuffle(blocks: &mut [u64]) {
    let mut random = Random::new(1);
    for n in (1..blocks.len()).rev() {
        blocks.swap(n, random.below(n as u64 + 1) as usize);
    }
}

/// Samples of one operation of one allocator.
type Samples = [u64; MAX_ROUNDS];

/// The value below which `quarters` quarters of the samples are.
fn quantile(samples: &[u64], quarters: usize) -> u64 {
    let mut sorted = [0; MAX_ROUNDS];
    let Some(part) = sorted.get_mut(..samples.len()) else { return 0 };
    part.copy_from_slice(samples);
    part.sort_unstable();
    part.get(part.len() * quarters / 4).or(part.last()).copied().unwrap_or(0)
}

fn bench(args: &mut Args<'_>) -> Outcome {
    let mut rounds = DEFAULT_ROUNDS;
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("rounds", Some(text)) => rounds = parse::count("rounds", text)?.min(MAX_ROUNDS as u64),
            _ => return Err(parse::unexpected("bench-peers", word)),
        }
    }
    let rounds = rounds as usize;
    let Some(mut blocks) = Words::alloc(BATCH) else { return Err(no_memory("ballast")) };
    let Some(blocks) = blocks.get_mut(..BATCH) else { return Err(no_memory("ballast")) };
    pages::with(|subjects| compare("pages", &[0, 3], subjects, rounds, blocks))?;
    objects::with(|subjects| compare("objects", &[16, 64, 256, 1024], subjects, rounds, blocks))
}

fn no_memory(who: &str) -> ExitStatus {
    fail(ExitStatus::CheckFailed, format_args!("bench-peers: {who} has not enough memory for {BATCH} blocks"))
}

/// The most allocators that are compared.
const MAX_SUBJECTS: usize = 4;

fn compare(
    what: &str,
    sizes: &[u32],
    subjects: &[&dyn Subject],
    rounds: usize,
    blocks: &mut [u64],
) -> Outcome {
    for &size in sizes {
        let count = if what == "pages" { BATCH >> size } else { BATCH };
        let Some(blocks) = blocks.get_mut(..count) else { continue };
        let mut samples = [[[0; MAX_ROUNDS]; METRICS.len()]; MAX_SUBJECTS];
        for round in 0..=rounds {
            for (subject, all) in subjects.iter().zip(&mut samples) {
                let sample = subject.sample(size, blocks).ok_or_else(|| no_memory(subject.name()))?;
                // The first round only warms up.
                let Some(round) = round.checked_sub(1) else { continue };
                for (row, value) in all.iter_mut().zip(sample) {
                    if let Some(slot) = row.get_mut(round) {
                        *slot = value;
                    }
                }
            }
        }
        for (n, metric) in METRICS.iter().enumerate() {
            let ours = samples.first().and_then(|all| all.get(n)).copied().unwrap_or([0; MAX_ROUNDS]);
            for (subject, all) in subjects.iter().zip(&samples) {
                let Some(theirs) = all.get(n) else { continue };
                print(what, size, metric, subject.name(), (&ours, theirs), rounds);
            }
        }
    }
    Ok(())
}

fn print(what: &str, size: u32, metric: &str, name: &str, times: (&Samples, &Samples), rounds: usize) {
    let (ours, theirs) = times;
    let mut ratios = [0; MAX_ROUNDS];
    for ((ratio, ours), theirs) in ratios.iter_mut().zip(ours).zip(theirs) {
        *ratio = ours * 100 / (*theirs).max(1);
    }
    let (Some(theirs), Some(ratios)) = (theirs.get(..rounds), ratios.get(..rounds)) else { return };
    let ns = |quarters| time::tsc_to_ns(quantile(theirs, quarters));
    let [min, median, p75] = [ns(0), ns(2), ns(3)];
    let ratio = quantile(ratios, 2);
    console::print(format_args!(
        "op={metric} of={what} size={size} allocator={name} min_ns={}.{} median_ns={}.{} p75_ns={}.{} ratio={}.{:02}\n",
        min / 10,
        min % 10,
        median / 10,
        median % 10,
        p75 / 10,
        p75 % 10,
        ratio / 100,
        ratio % 100
    ));
}
