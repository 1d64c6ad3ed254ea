//! `latency`: what memory, faults, swap and files cost, side by side, by the TSC.
//!
//! Each number is of one thing alone: words that no cache has, pages that were never touched, pages that are on a disk and
//! have nothing beside them that is read with them.

use super::swap::send;
use super::vm::Scratch;
use super::{Args, Command, Outcome, fail};
use crate::arch::{cpu, time};
use crate::console;
use crate::files::{self, File};
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, SWAP};
use core::arch::x86_64::{_mm_clflush, _mm_mfence};
use core::fmt;
use mm::addr::PAGE_SIZE;
use mm::cache::{FileAdvice, FileMode};
use mm::errno::Errno;
use shared::exit::ExitStatus;

/// The family.
pub const LATENCY: &[Command] = &[Command {
    name: "latency",
    usage: "[FILE]",
    summary: "times a word of RAM, a first touch, a page from swap, and a page of FILE",
    run: latency,
}];

/// Words of RAM that are read one after the other, each in a page of its own. A power of two.
const WORDS: u64 = 2048;
/// Rounds of them, of which the fastest counts: nothing came in between.
const ROUNDS: usize = 5;
/// Pages that are touched first.
const TOUCHES: u64 = 512;
/// Pages that are brought, so far apart that no window of readahead has two.
const BROUGHT: u64 = 32;
const APART: u64 = 32;
/// Those before, by which readahead learns that nobody goes on.
const WARM_UP: u64 = 6;

fn ticks(work: impl FnOnce()) -> u64 {
    let start = cpu::rdtsc();
    work();
    cpu::rdtsc().wrapping_sub(start)
}

/// Where word `n` of a ring lies, in a line of its page that the page's number says.
fn place(at: u64, n: u64) -> u64 {
    at + n % WORDS * PAGE_SIZE + n % 64 * 64
}

/// Nanoseconds that a word takes that no cache has: each says where the next one is.
fn word(scratch: &Scratch) -> Result<u64, ExitStatus> {
    let at = scratch.map_small(WORDS)?;
    scratch
        .run(|| {
            // Every number below a power of two comes once: Hull and Dobell (1962).
            let next = |n: u64| n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) % WORDS;
            for n in 0..WORDS {
                // SAFETY: the mapping is this context's, and so large.
                unsafe { (place(at, n) as *mut u64).write_volatile(place(at, next(n))) };
            }
            let round = || {
                for n in 0..WORDS {
                    // SAFETY: as above; flushing changes nothing that can be seen.
                    unsafe { _mm_clflush(place(at, n) as *const u8) };
                }
                // SAFETY: orders memory, no more.
                unsafe { _mm_mfence() };
                let mut from = place(at, 0);
                let follow = || {
                    for _ in 0..WORDS {
                        // SAFETY: as above.
                        from = unsafe { (from as *const u64).read_volatile() };
                    }
                };
                ticks(follow)
            };
            (0..ROUNDS).map(|_| round()).min().unwrap_or(0)
        })
        .map(|ticks| time::tsc_to_ns(ticks) / WORDS)
}

/// Nanoseconds of a first touch.
fn minor(scratch: &Scratch) -> Result<u64, ExitStatus> {
    let at = scratch.map_small(TOUCHES)?;
    let ticks = scratch.run(|| ticks(|| (0..TOUCHES).for_each(|n| write(at + n * PAGE_SIZE, n))))?;
    Ok(time::tsc_to_ns(ticks) / TOUCHES)
}

fn write(at: u64, value: u64) {
    // SAFETY: the caller has mapped it in the context that runs, where nobody else has anything.
    unsafe { (at as *mut u64).write_volatile(value) };
}

/// Nanoseconds until a page is there that is in swap; none without swap.
fn swapped(scratch: &Scratch) -> Result<Option<u64>, ExitStatus> {
    let pages = (WARM_UP + BROUGHT) * APART;
    if SWAP.free_slots() < pages {
        return Ok(None);
    }
    let at = scratch.map_small(pages)?;
    scratch.run(|| (0..pages).for_each(|n| write(at + n * PAGE_SIZE, n + 1)))?;
    send(scratch.context.mm().id(), at, pages * PAGE_SIZE)?;
    let touch = |n: u64| {
        // SAFETY: the mapping is this context's, and so large.
        let _ = unsafe { ((at + n * APART * PAGE_SIZE) as *const u64).read_volatile() };
    };
    let ticks = scratch.run(|| {
        (0..WARM_UP).for_each(touch);
        ticks(|| (WARM_UP..WARM_UP + BROUGHT).for_each(touch))
    })?;
    Ok(Some(time::tsc_to_ns(ticks) / BROUGHT))
}

/// Nanoseconds until a page of a file is read, from the disk and from memory; none where no part of it is on the disk only.
fn read(file: &File) -> Result<Option<(u64, u64)>, Errno> {
    CACHE.fadvise(file, 0, 0, FileAdvice::Random, &FRAMES);
    let pages = file.inode().size() / PAGE_SIZE;
    let (mut miss, mut hit, mut done) = (0, 0, 0);
    for page in (0..pages).step_by(APART as usize) {
        if CACHE.cachestat(file.inode(), page, page).cached != 0 {
            continue;
        }
        let mut result = Ok(0);
        let mut read =
            || ticks(|| result = CACHE.read(file, page * PAGE_SIZE, PAGE_SIZE, &FRAMES, |_, _| ()));
        (miss, hit) = (miss + read(), hit + read());
        result?;
        done += 1;
        if done == BROUGHT {
            return Ok(Some((time::tsc_to_ns(miss) / BROUGHT, time::tsc_to_ns(hit) / BROUGHT)));
        }
    }
    Ok(None)
}

/// Microseconds with two decimals, or that there is no such number.
struct Us(Option<u64>);

impl fmt::Display for Us {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ns) => write!(f, "{}.{:02}us", ns / 1000, ns % 1000 / 10),
            None => f.write_str("none"),
        }
    }
}

fn latency(args: &mut Args<'_>) -> Outcome {
    let path = args.next_word();
    let scratch = Scratch::new("latency")?;
    let (dram, minor, swapin) = (word(&scratch)?.max(1), minor(&scratch)?, swapped(&scratch)?);
    let file = match path {
        Some(path) => files::open(path, FileMode::READ)
            .and_then(|file| read(&file))
            .map_err(|errno| fail(ExitStatus::CheckFailed, format_args!("latency: {path}: {errno}")))?,
        None => None,
    };
    let (miss, hit) = file.unzip();
    console::print(format_args!(
        "dram={dram}ns minor={} filehit={} fileread={} swapin={} ratio={}\n",
        Us(Some(minor)),
        Us(hit),
        Us(miss),
        Us(swapin),
        swapin.or(miss).unwrap_or(minor) / dram
    ));
    Ok(())
}
