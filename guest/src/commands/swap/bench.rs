//! `swap bench`: how fast pages go to swap and come back.
//!
//! Owns: the pages and the clock. Stays outside: requests and exits, which the monitor counts; those of a step are what a run
//! has more than one that ends a step earlier. No page is of zeroes, and each is different from every other.

use super::{Args, Outcome, fail, usage};
use crate::arch::{cpu, percpu, time};
use crate::commands::bench::shuffle;
use crate::commands::support::{Random, Words, parse};
use crate::console;
use crate::context::{self, Context};
use crate::memory::slab::FRAMES;
use crate::memory::vm::{RECLAIM, STAT, VM};
use crate::task;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::errno::Errno;
use mm::space::MapRequest;
use mm::vma::VmFlags;
use mm::vmstat::{NodeStat, VmEvent};
use shared::exit::ExitStatus;

/// How often it is looked whether the disk has everything, in nanoseconds.
const WAIT_NS: u64 = 100_000;
/// Words of a page.
const WORDS: u64 = PAGE_SIZE / 8;

/// What is done last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Every page is written to.
    Touch,
    /// All pages are in swap, and none is in memory.
    Out,
    /// They were read, one after the other.
    In,
    /// So many were read, from anywhere.
    Random(u64),
}

/// `swap bench [size=BYTES] [until=touch|out|in|random] [pages=N] [scatter=STEP]`: with `scatter` every STEP-th page goes out
/// first, so that what lies beside each other in memory does not on the disk.
pub fn bench(args: &mut Args<'_>) -> Outcome {
    let (mut bytes, mut until, mut some, mut step) = (128 << 20, Until::In, 8192, 1);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("size", Some(text)) => bytes = parse::size("size", text)?,
            ("pages", Some(text)) => some = parse::count("pages", text)?,
            ("scatter", Some(text)) => step = parse::count("scatter", text)?,
            ("until", Some("touch")) => until = Until::Touch,
            ("until", Some("out")) => until = Until::Out,
            ("until", Some("in")) => until = Until::In,
            ("until", Some("random")) => until = Until::Random(0),
            _ => return Err(parse::unexpected("swap bench", word)),
        }
    }
    if until == Until::Random(0) {
        until = Until::Random(some);
    }
    let pages = bytes / PAGE_SIZE;
    if pages == 0 {
        return Err(usage(format_args!("swap bench: expected size=BYTES, at least a page")));
    }
    let failed = |errno| fail(ExitStatus::CheckFailed, format_args!("swap bench: {errno}"));
    let context = context::create("bench").map_err(failed)?;
    let result = measure(&context, pages, step, until);
    context.kill();
    match result.map_err(failed)? {
        0 => Ok(()),
        wrong => Err(fail(ExitStatus::Corruption, format_args!("swap bench: {wrong} pages are wrong"))),
    }
}

/// Takes all steps; how many pages came back as something else.
fn measure(context: &Context, pages: u64, step: u64, until: Until) -> Result<u64, Errno> {
    let (mm, bytes) = (context.mm(), pages * PAGE_SIZE);
    let request = MapRequest::anon(bytes);
    let at = VM.mmap(mm, &MapRequest { vm: request.vm | VmFlags::NOHUGEPAGE, ..request }, &FRAMES)?;
    let place = |n: u64| (at.get() + n * PAGE_SIZE) as *mut u64;
    let mut order = Words::alloc(pages as usize).ok_or(Errno::Enomem)?;
    let order = order.get_mut(..pages as usize).ok_or(Errno::Enomem)?;
    order.iter_mut().zip(0..).for_each(|(place, n)| *place = n);
    run(context, order, &|n| {
        for word in 0..WORDS {
            // SAFETY: the page is mapped in the context that this runs in, and nobody else uses it.
            unsafe { place(n).add(word as usize).write_volatile(filling(n, word)) };
        }
    })?;
    if until == Until::Touch {
        return Ok(0);
    }
    send(context, at, pages, step)?;
    let order = match until {
        Until::Touch | Until::Out => return Ok(0),
        Until::In => order,
        Until::Random(some) => {
            shuffle(order, &mut Random::new(pages));
            order.get_mut(..some as usize).ok_or(Errno::Einval)?
        }
    };
    let wrong = AtomicU64::new(0);
    let (before, start) = (STAT.event(VmEvent::PgMajFault), cpu::rdtsc());
    run(context, order, &|n| {
        // SAFETY: as above.
        if unsafe { place(n).read_volatile() } != filling(n, 0) {
            wrong.fetch_add(1, Ordering::Relaxed);
        }
    })?;
    let (ns, faults) = (since(start), STAT.event(VmEvent::PgMajFault) - before);
    console::print(format_args!("in_pages={} in_faults={faults} in_ns={ns}\n", order.len()));
    Ok(wrong.into_inner())
}

/// Sends all pages to swap, every `step`-th first, and frees them when they are written.
fn send(context: &Context, at: VirtAddr, pages: u64, step: u64) -> Result<(), Errno> {
    let (mm, bytes) = (context.mm(), pages * PAGE_SIZE);
    let (before, start) = (STAT.event(VmEvent::PswpOut), cpu::rdtsc());
    if step == 1 {
        RECLAIM.page_out(mm, at, bytes, &FRAMES)?;
    } else {
        for n in (0..step).flat_map(|first| (first..pages).step_by(step as usize)) {
            RECLAIM.page_out(mm, VirtAddr::truncate(at.get() + n * PAGE_SIZE), PAGE_SIZE, &FRAMES)?;
        }
    }
    while STAT.total(NodeStat::Writeback) != 0 {
        task::sleep(WAIT_NS);
    }
    RECLAIM.page_out(mm, at, bytes, &FRAMES)?;
    let (ns, out) = (since(start), STAT.event(VmEvent::PswpOut) - before);
    console::print(format_args!("out_pages={out} out_ns={ns} at={:#x}\n", at.get()));
    if out == pages { Ok(()) } else { Err(Errno::Enomem) }
}

/// What word `word` of page `n` holds.
fn filling(n: u64, word: u64) -> u64 {
    (n * WORDS + word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn since(start: u64) -> u64 {
    time::tsc_to_ns(cpu::rdtsc().wrapping_sub(start)).max(1)
}

/// Does `work` for each number in the context.
fn run(context: &Context, order: &[u64], work: &(dyn Fn(u64) + Sync)) -> Result<(), Errno> {
    context::run(context, percpu::cpu(), || order.iter().for_each(|&n| work(n))).map_err(|_| Errno::Enomem)
}
