//! The allocators of `mm` beside others, in one process and one run.
//!
//! Owns: which allocators are compared at what, and the limits. Stays outside: the workloads (`work`), the table
//! (`table`), the machine under `mm` (`machine`).
//! Method: all allocators take turns within each round, so that a slow moment of the machine hits all; a ratio is the
//! median of the ratios of the rounds. Times are CPU times of the measuring thread, in nanoseconds for each operation.

mod frames;
mod machine;
mod pool;
mod small;
mod table;
mod time;
mod work;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::Parser;
use mm::frame::Frame;

use crate::machine::Board;
use crate::pool::Pool;
use crate::table::{Limit, Table, verdict};
use crate::work::{Kind, Subject, Work};

/// Allocators of mm beside others.
#[derive(Parser)]
struct Cli {
    /// Rounds; in each of them every allocator is measured once
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only what this word is part of: pages, objects, or the name of an operation
    #[arg(long)]
    only: Option<String>,
}

/// Objects of a batch.
const OBJECTS: usize = 10_000;
/// Pages of a batch.
const PAGES: usize = 4096;
/// Order-9 blocks of a batch.
const HUGE_PAGES: usize = 256;
/// CPUs of the simulated machine, and threads.
const THREADS: [usize; 2] = [1, 2];

/// llfree's order-0 pair as recorded on the development machine when it was quiet, in nanoseconds. It is on no
/// registry, so it cannot run here.
const LLFREE_PAIR_NS: f64 = 38.0;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-peers: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let board = machine::boot()?;
    println!("{}\n", board.facts());
    let pool = Pool::new(THREADS[THREADS.len() - 1])?;
    let wanted = |group: &str, work: &Work| {
        cli.only.as_deref().is_none_or(|word| group.contains(word) || work.name().contains(word))
    };
    let mut right = true;
    for (group, subjects, works, limits) in [
        ("pages", frames::subjects(board), page_works(), page_limits()),
        ("objects", small::subjects(board)?, object_works(), object_limits()),
    ] {
        let works: Vec<_> = works.into_iter().filter(|work| wanted(group, work)).collect();
        if works.is_empty() {
            continue;
        }
        let table = measure(&pool, &subjects, works, cli.rounds);
        println!("{}", table.render(group));
        let (text, kept) = table.judge(&limits);
        println!("{text}");
        right &= kept;
    }
    board.verify()?;
    ensure!(board.leaked_pages() == 0, "{} pages were lost", board.leaked_pages());
    Ok(right)
}

/// All subjects take turns in each round.
fn measure(pool: &Pool, subjects: &[Arc<dyn Subject>], works: Vec<Work>, rounds: u32) -> Table {
    let mut table = Table::new(subjects.iter().map(|subject| subject.name()).collect());
    for work in works {
        for subject in subjects {
            // Warm caches, and memory that the host has already given.
            pool.run(subject, work);
        }
        for _ in 0..rounds {
            let samples: Vec<_> = subjects.iter().map(|subject| pool.run(subject, work)).collect();
            table.add(work, &samples);
        }
    }
    table
}

fn page_works() -> Vec<Work> {
    let mut works = Vec::new();
    for threads in THREADS {
        for (size, count) in [(0, PAGES), (9, HUGE_PAGES / threads)] {
            for kind in [Kind::Pair, Kind::Beside, Kind::Lifo, Kind::Batch] {
                works.push(Work { kind, size, count, threads });
            }
        }
    }
    works
}

fn object_works() -> Vec<Work> {
    let mut works = Vec::new();
    for threads in THREADS {
        for size in [16, 64, 256, 1024, 4096] {
            for kind in [Kind::Pair, Kind::Batch, Kind::Exchange] {
                if kind != Kind::Exchange || threads > 1 {
                    works.push(Work { kind, size, count: OBJECTS, threads });
                }
            }
        }
    }
    works
}

fn page_limits() -> Vec<Limit> {
    vec![Limit::nanoseconds("pair", 0, LLFREE_PAIR_NS * 0.5)]
}

fn object_limits() -> Vec<Limit> {
    vec![
        Limit::ratio("pair", "mimalloc", 1.5, 1.0),
        Limit::ratio("alloc", "mimalloc", 3.0, 1.5),
        Limit::ratio("free_random", "mimalloc", 3.0, 1.5),
    ]
}

impl Board {
    /// What descriptors cost, as one line of facts.
    fn facts(&self) -> String {
        let [bytes, all] = [size_of::<Frame>() as f64, self.bytes_per_frame()];
        format!(
            "bytes_per_frame={bytes} must=64 {} aim=32 {} ({all:.3} with the words of pageblocks) boot_us={:.1} \
             descriptor_init_ms_per_gib={:.2}",
            verdict(bytes, 64.0),
            verdict(bytes, 32.0),
            self.boot_seconds * 1e6,
            self.init_seconds * 1e3 / machine::GIB_OF_RAM as f64,
        )
    }
}
