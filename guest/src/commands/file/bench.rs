//! `file bench`: how long reads through the page cache take on this machine.
//!
//! Owns: the loop and its times. What was read goes to one buffer, as a program's would, and is not looked at. Reads that are
//! not `sequential` are measured a batch at a time and the least counts, which is the cost without disturbance; `sequential`
//! goes through the file once.

use super::open::with;
use super::{failed, path};
use crate::arch::cpu::rdtsc;
use crate::arch::time;
use crate::commands::support::{Random, parse};
use crate::commands::{Args, Outcome, fail, usage};
use crate::console;
use crate::files::{Buffer, File};
use crate::memory::slab::FRAMES;
use crate::memory::vm::CACHE;
use core::ptr::NonNull;
use mm::errno::Errno;
use shared::exit::ExitStatus;

/// Bytes of a batch.
const BATCH: u64 = 16 << 20;
/// Largest read.
const MAX_BYTES: u64 = 1 << 20;

/// Where reads go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The same place.
    Hot,
    /// Anywhere.
    Random,
    /// One after the other, to the end.
    Sequential,
}

struct Plan {
    order: Order,
    bytes: u64,
    rounds: u64,
}

impl Plan {
    fn parse(args: &mut Args<'_>) -> Result<Self, ExitStatus> {
        let mut plan = Self { order: Order::Random, bytes: 4096, rounds: 100 };
        while let Some(word) = args.next_word() {
            match parse::setting(word) {
                ("bs", Some(text)) => plan.bytes = parse::size("bs", text)?,
                ("rounds", Some(text)) => plan.rounds = parse::count("rounds", text)?,
                ("order", Some("hot")) => plan.order = Order::Hot,
                ("order", Some("random")) => plan.order = Order::Random,
                ("order", Some("sequential")) => plan.order = Order::Sequential,
                _ => return Err(parse::unexpected("file bench", word)),
            }
        }
        if plan.bytes == 0 || plan.bytes > MAX_BYTES {
            return Err(usage(format_args!("bad bs {} (1 to 1M)", plan.bytes)));
        }
        Ok(plan)
    }
}

/// `file bench PATH [bs=4K] [order=hot|random|sequential] [rounds=N]`
pub fn bench(args: &mut Args<'_>) -> Outcome {
    let path = path(args)?;
    let plan = Plan::parse(args)?;
    let mut buffer = Buffer::new(plan.bytes as usize)
        .ok_or_else(|| fail(ExitStatus::OutOfMemory, format_args!("file bench: no memory for a buffer")))?;
    with(path, |file| {
        let blocks = file.inode().size() / plan.bytes;
        if blocks == 0 {
            return Err(usage(format_args!(
                "{path}: a read of {} bytes is larger than the file",
                plan.bytes
            )));
        }
        let (reads, tsc) =
            measure(file, &plan, blocks, buffer.bytes()).map_err(|error| failed(path, error))?;
        let ps = time::tsc_to_ns(tsc).saturating_mul(1000) / reads;
        console::print(format_args!("reads={reads} bytes={} ps={ps}\n", reads * plan.bytes));
        Ok(())
    })?
}

/// How many reads took how long at best.
fn measure(file: &File, plan: &Plan, blocks: u64, buffer: &mut [u8]) -> Result<(u64, u64), Errno> {
    if plan.order == Order::Sequential {
        return Ok((blocks, timed(|| (0..blocks).try_for_each(|at| read(file, at * plan.bytes, buffer)))?));
    }
    let reads = (BATCH / plan.bytes).max(1);
    let (mut random, mut least) = (Random::new(1), u64::MAX);
    for _ in 0..plan.rounds {
        least = least.min(timed(|| {
            (0..reads).try_for_each(|_| {
                let at = if plan.order == Order::Random { random.below(blocks) } else { 0 };
                read(file, at * plan.bytes, buffer)
            })
        })?);
    }
    Ok((reads, least))
}

/// How long `work` takes, in units of the time-stamp counter.
fn timed(work: impl FnOnce() -> Result<(), Errno>) -> Result<u64, Errno> {
    let start = rdtsc();
    work()?;
    Ok(rdtsc().wrapping_sub(start))
}

/// Reads a whole buffer.
#[inline(always)]
fn read(file: &File, at: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut to = buffer.as_mut_ptr();
    let copy = |from: NonNull<u8>, length: usize| {
        // SAFETY: the cache shows so many bytes of a page, in all no more than were asked for, which the buffer has room for.
        unsafe {
            to.copy_from_nonoverlapping(from.as_ptr(), length);
            to = to.add(length);
        }
    };
    let read = CACHE.read(file, at, buffer.len() as u64, &FRAMES, copy)?;
    if read == buffer.len() as u64 { Ok(()) } else { Err(Errno::Eio) }
}
