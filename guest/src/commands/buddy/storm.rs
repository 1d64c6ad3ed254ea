//! `buddy storm`: random allocations and frees, on this CPU or on all at once, with marks in every frame.
//!
//! Owns: the workers and their verdict. Invariants: a worker frees all it took; a block that does not hold its
//! marks when it is freed was given to somebody else as well, which is corruption.

use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::smp;
use crate::commands::support::{Block, Random, Words, parse};
use crate::commands::{Args, Outcome, fail};
use crate::memory::PHYS;
use crate::task::{self, Handle, SpawnError};
use crate::{console, report};
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::Order;
use mm::phys::GfpFlags;
use shared::exit::ExitStatus;

const DEFAULT_OPS: u64 = 100_000;
/// The packed block, or 0, and the tag of its marks.
type Slot = [u64; SLOT_WORDS];
const SLOT_WORDS: usize = 2;
const MIN_SLOTS: u64 = 64;
const MAX_SLOTS: u64 = 4096;
/// Half of the slots hold a block, which has about five pages: so many pages of memory for a slot of all CPUs
/// together keep a part of it free, but not all.
const PAGES_PER_SLOT: u64 = 4;
/// One request in so many is for an exact number of pages, up to so many.
const EXACT_ONE_IN: u64 = 16;
const EXACT_PAGES: u64 = 32;

/// What the workers share.
struct Job {
    ops: u64,
    seed: u64,
    slots: u64,
    allocs: AtomicU64,
    frees: AtomicU64,
    fails: AtomicU64,
    /// Workers that had no memory for their table.
    starved: AtomicU64,
}

/// Runs the storm.
pub fn storm(args: &mut Args<'_>) -> Outcome {
    let (mut ops, mut seed, mut tasks) = (DEFAULT_OPS, 1, false);
    while let Some(word) = args.next_word() {
        match parse::setting(word) {
            ("ops", Some(text)) => ops = parse::count("ops", text)?,
            ("seed", Some(text)) => seed = parse::number("seed", text)?,
            ("tasks", None) => tasks = true,
            _ => return Err(parse::unexpected("buddy storm", word)),
        }
    }
    let cpus = if tasks { smp::online() } else { 1 };
    let slots = PHYS.total_managed_pages() / PAGES_PER_SLOT / u64::from(cpus);
    let job = Job {
        ops,
        seed,
        slots: slots.clamp(MIN_SLOTS, MAX_SLOTS),
        allocs: AtomicU64::new(0),
        frees: AtomicU64::new(0),
        fails: AtomicU64::new(0),
        starved: AtomicU64::new(0),
    };
    if tasks {
        on_all_cpus(&job, cpus)?;
    } else {
        work(&job, 0);
    }
    verdict(&job, cpus)
}

fn verdict(job: &Job, cpus: u32) -> Outcome {
    let load = |counter: &AtomicU64| counter.load(Ordering::Acquire);
    let (allocs, frees) = (load(&job.allocs), load(&job.frees));
    console::print(format_args!(
        "cpus={cpus} ops={} allocs={allocs} frees={frees} fails={}\n",
        job.ops.saturating_mul(u64::from(cpus)),
        load(&job.fails)
    ));
    if load(&job.starved) != 0 {
        return Err(fail(ExitStatus::CheckFailed, format_args!("buddy storm: no memory to work with")));
    }
    if allocs != frees {
        return Err(fail(ExitStatus::CheckFailed, format_args!("buddy storm: blocks were lost")));
    }
    super::check();
    console::print(format_args!("verify=ok\n"));
    Ok(())
}

/// One worker a CPU, all at once; returns when all have ended.
fn on_all_cpus(job: &Job, cpus: u32) -> Outcome {
    let mut workers = [const { None }; MAX_CPUS];
    let mut failure: Option<SpawnError> = None;
    for (cpu, worker) in (0..cpus).zip(&mut workers) {
        match task::spawn("storm", cpu, entry, job as *const Job as usize) {
            Ok(task) => *worker = Some(task),
            Err(error) => failure = Some(error),
        }
    }
    workers.into_iter().flatten().for_each(Handle::join);
    match failure {
        None => Ok(()),
        Some(error) => {
            Err(fail(ExitStatus::CheckFailed, format_args!("buddy storm: no task on a CPU: {error:?}")))
        }
    }
}

fn entry(argument: usize) {
    // SAFETY: `on_all_cpus` passes a job that it borrows until every worker has been joined.
    let job = unsafe { &*(argument as *const Job) };
    work(job, u64::from(percpu::cpu()));
}

/// The worker of one CPU, with a table of its own.
fn work(job: &Job, cpu: u64) {
    let Some(mut table) = Words::alloc(job.slots as usize * SLOT_WORDS) else {
        job.starved.fetch_add(1, Ordering::AcqRel);
        return;
    };
    let (slots, _) = table.as_chunks_mut();
    let random = Random::new(job.seed ^ cpu << 32);
    let mut worker = Worker { random, allocs: 0, frees: 0, fails: 0 };
    worker.run(job.ops, slots);
    job.allocs.fetch_add(worker.allocs, Ordering::AcqRel);
    job.frees.fetch_add(worker.frees, Ordering::AcqRel);
    job.fails.fetch_add(worker.fails, Ordering::AcqRel);
}

struct Worker {
    random: Random,
    allocs: u64,
    frees: u64,
    fails: u64,
}

impl Worker {
    fn run(&mut self, ops: u64, slots: &mut [Slot]) {
        for _ in 0..ops {
            let n = self.random.below(slots.len() as u64) as usize;
            match slots.get_mut(n) {
                Some(slot) if slot[0] != 0 => self.give_back(slot),
                Some(_) if self.random.below(EXACT_ONE_IN) == 0 => self.exact(),
                Some(slot) => self.take(slot),
                None => {}
            }
        }
        slots.iter_mut().filter(|slot| slot[0] != 0).for_each(|slot| self.give_back(slot));
    }

    /// Mostly small blocks, for all kinds of use.
    fn take(&mut self, slot: &mut Slot) {
        let order = Order::new(self.random.word().trailing_zeros()).unwrap_or(Order::MAX);
        let gfp = self.flags();
        match Block::alloc(gfp, order) {
            Ok(block) => {
                self.allocs += 1;
                let tag = self.random.word();
                block.mark(tag);
                *slot = [block.pack(), tag];
            }
            Err(_) => self.fails += 1,
        }
    }

    fn give_back(&mut self, slot: &mut Slot) {
        let [number, tag] = core::mem::take(slot);
        // SAFETY: `take` stored what `pack` gave; the slot is empty now.
        if let Some(block) = unsafe { Block::unpack(number) } {
            check(&block, tag);
            self.frees += 1;
        }
    }

    /// A run of exactly so many pages, taken and given back at once.
    fn exact(&mut self) {
        let (pages, tag) = (1 + self.random.below(EXACT_PAGES), self.random.word());
        // The pages are looked at through the direct map.
        let gfp = self.flags().difference(GfpFlags::__GFP_HIGHMEM);
        let Ok(mut run) = PHYS.alloc_pages_exact(gfp, pages, &mut |_| {}) else {
            self.fails += 1;
            return;
        };
        self.allocs += 1;
        let mut blocks = [const { None }; Order::COUNT];
        for slot in &mut blocks {
            *slot = run.take_block().map(Block::adopt);
        }
        blocks.iter().flatten().for_each(|block| block.mark(tag));
        blocks.iter().flatten().for_each(|block| check(block, tag));
        self.frees += 1;
    }

    fn flags(&mut self) -> GfpFlags {
        match self.random.below(16) {
            0 => GfpFlags::GFP_DMA,
            1 | 2 => GfpFlags::GFP_DMA32,
            3..=5 => GfpFlags::GFP_KERNEL | GfpFlags::__GFP_RECLAIMABLE,
            6..=9 => GfpFlags::GFP_HIGHUSER_MOVABLE,
            _ => GfpFlags::GFP_KERNEL,
        }
    }
}

/// A block whose marks are gone was given to somebody else as well.
fn check(block: &Block, tag: u64) {
    if let Some(damage) = block.damage(tag) {
        report::corruption(format_args!(
            "Bad page content pfn={:#x} order={} expected={:#x} found={:#x}",
            damage.pfn.get(),
            block.order().get(),
            damage.expected,
            damage.found
        ));
    }
}
