//! `thrash`: memory of a context and pages of a file, used in any order, and whether they fit.
//!
//! Owns: the load, and what is checked and printed of it. Stays outside: when that is thrashing (`mm::reclaim`).
//! Every page of memory holds a number that its address makes, and of every page of the file the sum is kept: what is
//! lost or mixed up on the way to a disk and back is seen.

use super::file::with;
use super::support::{Block, Random, parse};
use super::vm::{Scratch, load, store};
use super::{Args, Command, Outcome, fail, usage};
use crate::arch::time;
use crate::console;
use crate::files::File;
use crate::machine::CPU;
use crate::memory::kswapd;
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, STAT};
use crate::task::pressure::PSI;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use crc32fast::Hasher;
use mm::addr::{Order, PAGE_SIZE};
use mm::phys::GfpFlags;
use mm::port::Cpu;
use mm::psi::Kind;
use mm::reclaim::Traffic;
use mm::vmstat::VmEvent;
use shared::exit::ExitStatus;

/// The family.
pub const THRASH: &[Command] = &[Command {
    name: "thrash",
    usage: "SIZE [file=PATH] [bytes=SIZE] [ops=N] [seed=N] [paced]",
    summary: "uses so much memory, and so much of a file, in any order; says whether it fits",
    run: thrash,
}];

/// What is used, and how.
struct Load {
    pages: u64,
    file_pages: u64,
    ops: u64,
    seed: u64,
    /// Nothing is used while kswapd has to make room.
    is_paced: bool,
}

impl Load {
    /// A good place to let kswapd do what it was asked for, so that it can keep up whenever it runs.
    fn pace(&self) {
        while self.is_paced && kswapd::is_busy() {
            CPU.wait_for(PACE_NS);
        }
    }
}

/// How long it is waited before the next look whether kswapd is done.
const PACE_NS: u64 = 50_000;

/// What a file's pages hold, and how often that was something else.
struct Sums<'a> {
    file: &'a File,
    /// A word for each page.
    sums: &'a Block,
}

impl Sums<'_> {
    /// Reads page `index`; whether it holds what it did at first.
    fn check(&self, index: u64) -> bool {
        let mut hasher = Hasher::new();
        let mut sink = |from: NonNull<u8>, length: usize| {
            // SAFETY: the cache shows so many bytes of a page that it keeps meanwhile; nobody writes the file while this
            // command reads it.
            hasher.update(unsafe { core::slice::from_raw_parts(from.as_ptr(), length) });
        };
        let read = CACHE.read(self.file, index * PAGE_SIZE, PAGE_SIZE, &FRAMES, &mut sink);
        // Not 0, which is for a page that was not read before.
        let sum = u64::from(hasher.finalize()) | 1 << 32;
        let before = self.sums.word(index as usize).swap(sum, Ordering::Relaxed);
        read.is_ok() && (before == 0 || before == sum)
    }
}

/// What the page at `address` holds.
fn mark(address: u64, seed: u64) -> u64 {
    (address ^ seed.rotate_left(48)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// Uses everything once, in order; then `ops` pages in any order, of memory and of the file by turns. How many were wrong, and
/// what was true when the second part began and when it ended.
fn perform(work: &Load, at: u64, file: Option<&Sums<'_>>) -> (u64, [Point; 2]) {
    let (mut wrong, mut random) = (0, Random::new(work.seed));
    let pages = || (0..work.pages).map(|page| at + page * PAGE_SIZE).inspect(|_| work.pace());
    pages().for_each(|at| store(at, mark(at, work.seed)));
    if let Some(file) = file {
        let indexes = (0..work.file_pages).inspect(|_| work.pace());
        wrong += indexes.filter(|index| !file.check(*index)).count() as u64;
    }
    let start = Point::now();
    for op in 0..work.ops {
        work.pace();
        let is_file = work.pages == 0 || op % 2 == 1;
        let is_right = match file.filter(|_| is_file) {
            Some(file) => file.check(random.below(work.file_pages)),
            None => {
                let at = at + random.below(work.pages) * PAGE_SIZE;
                let is_right = load(at) == mark(at, work.seed);
                store(at, mark(at, work.seed));
                is_right
            }
        };
        wrong += u64::from(!is_right);
    }
    let end = Point::now();
    pages().for_each(|at| {
        wrong += u64::from(load(at) != mark(at, work.seed));
    });
    (wrong, [start, end])
}

const EVENTS: [VmEvent; 4] = [VmEvent::PswpOut, VmEvent::PswpIn, VmEvent::PgScanAnon, VmEvent::PgScanFile];

/// What is true at a time.
#[derive(Clone, Copy)]
struct Point {
    ns: u64,
    full_ns: u64,
    traffic: Traffic,
    events: [u64; EVENTS.len()],
}

impl Point {
    fn now() -> Self {
        Self {
            ns: time::since_boot_ns(),
            full_ns: PSI.total(&CPU, Kind::Full),
            traffic: Traffic::of(&STAT),
            events: EVENTS.map(|event| STAT.event(event)),
        }
    }
}

fn thrash(args: &mut Args<'_>) -> Outcome {
    let bytes = parse::size("size", args.next_word().unwrap_or(""))?;
    let (mut path, mut file_bytes, mut ops, mut seed, mut is_paced) = (None, bytes, None, 1, false);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("file", Some(text)) => path = Some(text),
            ("bytes", Some(text)) => file_bytes = parse::size("bytes", text)?,
            ("ops", Some(text)) => ops = Some(parse::count("ops", text)?),
            ("seed", Some(text)) => seed = parse::number("seed", text)?,
            ("paced", None) => is_paced = true,
            _ => return Err(parse::unexpected("thrash", word)),
        }
    }
    let pages = bytes.div_ceil(PAGE_SIZE);
    if path.is_none() && pages == 0 {
        return Err(usage(format_args!("thrash: nothing to use")));
    }
    let mut work = Load { pages, file_pages: 0, ops: ops.unwrap_or(pages), seed, is_paced };
    match path {
        None => run(&work, None),
        Some(path) => with(path, |file| {
            work.file_pages = file_bytes.min(file.inode().size()) / PAGE_SIZE;
            if work.file_pages == 0 {
                return Err(usage(format_args!("thrash: {path} is too small")));
            }
            let gfp = GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO;
            let order = Order::covering((work.file_pages * size_of::<u64>() as u64).div_ceil(PAGE_SIZE));
            let sums = order.and_then(|order| Block::alloc(gfp, order).ok());
            let sums =
                sums.ok_or_else(|| fail(ExitStatus::CheckFailed, format_args!("no memory for sums")))?;
            run(&work, Some(&Sums { file, sums: &sums }))
        })?,
    }
}

fn run(work: &Load, file: Option<&Sums<'_>>) -> Outcome {
    let scratch = Scratch::new("thrash")?;
    let at = if work.pages == 0 { 0 } else { scratch.map_small(work.pages)? };
    let (wrong, [start, end]) = scratch.run(|| perform(work, at, file))?;
    drop(scratch);
    let (ns, traffic) = ((end.ns - start.ns).max(1), end.traffic.since(&start.traffic));
    let full = (end.full_ns - start.full_ns) * 1000 / ns;
    let per_second = |n: u64| (u128::from(n) * 1_000_000_000 / u128::from(ns)) as u64;
    let [out, back, scan_anon, scan_file] = core::array::from_fn(|n| {
        end.events.get(n).zip(start.events.get(n)).map_or(0, |(end, start)| end - start)
    });
    console::print(format_args!(
        "pages={} file_pages={} ops={} wrong={wrong} us={} ops_s={} pswpout={out} pswpin={back} scan_anon={scan_anon} \
         scan_file={scan_file}\n",
        work.pages,
        work.file_pages,
        work.ops,
        ns / 1000,
        per_second(work.ops)
    ));
    let verdict = if traffic.is_thrashing(full) { "yes" } else { "no" };
    console::print(format_args!(
        "thrashing={verdict} evictions={} refaults={} restores={} refault_s={} full_permille={full}\n",
        traffic.evictions,
        traffic.refaults,
        traffic.restores,
        per_second(traffic.refaults)
    ));
    if wrong == 0 {
        Ok(())
    } else {
        Err(fail(ExitStatus::CheckFailed, format_args!("{wrong} pages were wrong")))
    }
}
