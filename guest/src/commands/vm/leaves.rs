//! `vm leaves`: the same memory mapped by small and by huge leaves: entries, tables, the length of a walk, and the time
//! of random reads.

use super::scratch::{self, Scratch};
use super::{not_mapped, refused};
use crate::arch::cpu::rdtsc;
use crate::arch::time;
use crate::commands::support::{Random, parse};
use crate::commands::{Args, Outcome, fail};
use crate::console;
use crate::memory::slab::FRAMES;
use crate::memory::vm::VM;
use mm::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use mm::pgtable::{PageRange, walk_refs};
use mm::port::{Access, Level};
use mm::space::{Advice, Errno, MapRequest, ThpMode};
use shared::exit::ExitStatus;
use shared::params::SizeText;

const DEFAULT_BYTES: u64 = 512 << 20;
/// Random reads that are timed.
const READS: u64 = 1 << 20;
/// Bytes from one place that is read to the next.
const STEP: u64 = 64;
const KB: u64 = PAGE_SIZE / 1024;

/// `vm leaves [SIZE]`.
pub fn leaves(args: &mut Args<'_>) -> Outcome {
    let bytes = args.next_word().map_or(Ok(DEFAULT_BYTES), |word| parse::size("size", word))?;
    let huge = Level::PMD.size();
    if bytes == 0 || bytes % huge != 0 {
        return Err(refused(Errno::Einval, "a multiple of 2M"));
    }
    if VM.settings().thp() == ThpMode::Never {
        return Err(refused(Errno::Einval, "transparent_hugepage=never"));
    }
    let small = one_size(bytes, Level::PTE, Advice::NoHugePage)?;
    let large = one_size(bytes, Level::PMD, Advice::HugePage)?;
    let hundredths = small * 100 / large.max(1);
    console::print(format_args!("ratio={}.{:02}\n", hundredths / 100, hundredths % 100));
    Ok(())
}

/// Maps `bytes` with leaves of `level`, reports, and gives what a random read takes, in picoseconds.
fn one_size(bytes: u64, level: Level, advice: Advice) -> Result<u64, ExitStatus> {
    let scratch = Scratch::new("leaves")?;
    let mm = scratch.context.mm();
    // At the start of a table, so that there are as few as can be.
    let wish = (mm.layout().start << PAGE_SHIFT).next_multiple_of(Level::PUD.size()) + Level::PUD.size();
    let request = MapRequest { addr: VirtAddr::new(wish), ..MapRequest::anon(bytes) };
    let at = scratch.map(&request, Some(advice))?;
    let va = VirtAddr::truncate(at);
    VM.populate(mm, va, bytes, Access::Write, &FRAMES).map_err(|errno| not_mapped(errno, bytes))?;
    let tree = mm.tree();
    let census =
        PageRange::new(va, bytes / PAGE_SIZE).and_then(|range| tree.census(range)).unwrap_or_default();
    let count = if level == Level::PTE { census.leaves.pte } else { census.leaves.pmd };
    let levels = tree.walk_levels(level);
    let picos = scratch.run(|| random_read(at, bytes))?;
    console::print(format_args!(
        "{}: leafs={count} PageTables={} kB refs={} random_read={}.{} ns\n",
        SizeText(level.size()),
        census.tables * KB,
        walk_refs(levels, levels),
        picos / 1000,
        picos % 1000 / 100
    ));
    if count != bytes / level.size() {
        return Err(fail(ExitStatus::CheckFailed, format_args!("ENOMEM (not all leaves are of that size)")));
    }
    Ok(picos)
}

/// What one of many random reads takes, each waiting for the one before, in picoseconds.
fn random_read(at: u64, bytes: u64) -> u64 {
    // Where the host fills tables of its own, it does so before the time counts.
    (0..bytes / PAGE_SIZE).for_each(|n| _ = scratch::load(at + n * PAGE_SIZE));
    let mut random = Random::new(bytes);
    let mut last = 0;
    let start = rdtsc();
    for _ in 0..READS {
        // All pages hold zeroes, which only the reader cannot know.
        last = scratch::load(at + (random.below(bytes / STEP) ^ last) * STEP);
    }
    time::tsc_to_ns((rdtsc() - start) * 1000) / READS
}
