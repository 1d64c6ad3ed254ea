//! `bench miss`, `bench swap`: what waits for a disk, for a counter outside.
//!
//! Owns: what is done between marks. The guest's clock goes on while it waits, so it cannot count what is executed; a counter
//! outside can, and hears of marks in pairs, one for every round of a line `counted=KEY ops=N rounds=N`.

use super::shuffle;
use crate::arch::{cpu, percpu};
use crate::commands::support::{Random, Words};
use crate::commands::{Outcome, fail};
use crate::console;
use crate::context::{self, Context};
use crate::files::{self, File};
use crate::memory::slab::FRAMES;
use crate::memory::swap::apply_settings;
use crate::memory::vm::{CACHE, RECLAIM, STAT, SWAP, VM};
use crate::task;
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::cache::{FileAdvice, FileMode};
use mm::errno::Errno;
use mm::space::MapRequest;
use mm::vma::VmFlags;
use mm::vmstat::NodeStat;
use shared::exit::ExitStatus;

/// The disk that is read.
const DISK: &str = "/dev/vda";
/// Reads of one round.
const READS: usize = 64;
/// Pages that go to swap in one round.
const PAGES: u64 = 2048;
/// Pages that come back together: two windows of `vm.page-cluster`.
const TOGETHER: u64 = 16;
/// How long to sleep until the disk has everything, in nanoseconds.
const WAIT_NS: u64 = 50_000_000;

fn print(key: &str, ops: u64, rounds: u64) {
    console::print(format_args!("counted={key} ops={ops} rounds={rounds}\n"));
}

/// Does `work` between two marks.
fn between_marks<T>(work: impl FnOnce() -> T) -> T {
    cpu::mark();
    let result = work();
    cpu::mark();
    result
}

/// `bench miss`: reads of 4 KiB, one after the other, that are not in memory.
pub fn miss(rounds: u64) -> Outcome {
    let failed = |error| fail(ExitStatus::CheckFailed, format_args!("bench miss: {error}"));
    let file = files::open(DISK, FileMode::READ).map_err(failed)?;
    CACHE.fadvise(&file, 0, 0, FileAdvice::Random, &FRAMES);
    for round in 0..rounds {
        misses(&file, round).map_err(failed)?;
    }
    print("disk_miss", 1, READS as u64 * rounds);
    Ok(())
}

fn misses(file: &File, seed: u64) -> Result<(), Errno> {
    let (mut random, end) = (Random::new(seed), file.inode().size() / PAGE_SIZE);
    let pages = [(); READS].map(|()| random.below(end.max(1)));
    for page in pages {
        CACHE.evict_page(file.inode(), page);
    }
    pages.iter().try_for_each(|&page| between_marks(|| super::cache::read(file, page)))
}

/// What is counted of pages that go to swap and come back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Going out, until the disk has all of them.
    Out,
    /// Coming back in order, with readahead.
    In,
    /// Coming back in any order, each alone.
    InRandom,
}

/// `bench swap`: pages of a context go out, come back in order, and come back in any order.
pub fn swap(rounds: u64) -> Outcome {
    let failed = |error| fail(ExitStatus::CheckFailed, format_args!("bench swap: {error}"));
    for step in [Step::Out, Step::In, Step::InRandom] {
        for round in 0..rounds {
            let context = context::create("bench").map_err(failed)?;
            let result = one(&context, step, round);
            context.kill();
            result.map_err(failed)?;
        }
        match step {
            Step::Out => print("swap_out", PAGES, rounds),
            Step::In => print("swap_in", TOGETHER, PAGES / TOGETHER * rounds),
            Step::InRandom => print("swap_in_random", 1, PAGES * rounds),
        }
    }
    Ok(())
}

/// Sends pages out and reads them back; marks are where `step` is.
fn one(context: &Context, step: Step, seed: u64) -> Result<(), Errno> {
    let (mm, bytes) = (context.mm(), PAGES * PAGE_SIZE);
    let request = MapRequest::anon(bytes);
    // Huge pages are not swapped.
    let at = VM.mmap(mm, &MapRequest { vm: request.vm | VmFlags::NOHUGEPAGE, ..request }, &FRAMES)?;
    let mut order = Words::alloc(PAGES as usize).ok_or(Errno::Enomem)?;
    let order = order.get_mut(..PAGES as usize).ok_or(Errno::Enomem)?;
    order.iter_mut().zip(0..).for_each(|(place, n)| *place = n);
    touch(context, at, order, true, None)?;
    let out = || -> Result<(), Errno> {
        RECLAIM.page_out(mm, at, bytes, &FRAMES)?;
        while STAT.total(NodeStat::Writeback) != 0 {
            task::sleep(WAIT_NS);
        }
        Ok(())
    };
    if step == Step::Out { between_marks(out) } else { out() }?;
    // What is written goes.
    RECLAIM.page_out(mm, at, bytes, &FRAMES)?;
    let group = match step {
        Step::Out => None,
        Step::In => Some(TOGETHER as usize),
        Step::InRandom => {
            shuffle(order, &mut Random::new(seed));
            SWAP.set_page_cluster(0);
            Some(1)
        }
    };
    let touched = touch(context, at, order, false, group);
    apply_settings();
    touched
}

/// Reads or writes a page of the context for each number, so many of them between marks.
fn touch(
    context: &Context,
    at: VirtAddr,
    order: &[u64],
    write: bool,
    group: Option<usize>,
) -> Result<(), Errno> {
    let touch = |n: &u64| {
        let place = (at.get() + n * PAGE_SIZE) as *mut u64;
        // SAFETY: the page is mapped in the context that this runs in, and nobody else uses it.
        unsafe {
            if write {
                place.write_volatile(n + 1);
            } else {
                place.read_volatile();
            }
        }
    };
    let work = || match group {
        None => order.iter().for_each(touch),
        Some(count) => order.chunks(count).for_each(|group| between_marks(|| group.iter().for_each(touch))),
    };
    context::run(context, percpu::cpu(), work).map_err(|_| Errno::Enomem)
}
