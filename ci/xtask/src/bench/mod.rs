//! `bench`: measurements. Not part of `test`, because their results depend on what else the machine does.

mod alloc;
mod boot;
mod disk;
mod fault;
mod guest;
mod icount;
mod image;
mod io;
mod qemu;
mod record;
mod smaps;
mod stats;
mod swap;
mod uring;
mod watch;

use anyhow::Result;
use clap::Subcommand;

use crate::repo::Repo;

/// What can be measured.
#[derive(Subcommand)]
pub enum Bench {
    /// Time from process start to the first output and the first command, beside QEMU
    Boot {
        /// Boots of each kind
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
    },
    /// Time per allocation beside other allocators, on this machine and in the guest, and instructions; writes
    /// docs/measurements.md
    Alloc {
        /// Rounds; in each of them every allocator is measured once
        #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// The guest's disk beside the host's own io_uring on the same file; writes docs/measurements.md
    Disk {
        /// Rounds of each kind
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Reads through the guest's page cache beside the host's own; writes docs/measurements.md
    Io {
        /// Rounds, in each of which host and guest take a turn
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Pages that go to swap and come back beside the host's own io_uring on the same file: bandwidth, requests, exits,
    /// latency; writes docs/measurements.md
    Swap {
        /// Rounds, in each of which host and guest take a turn
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Page faults of contexts on this machine's KVM, huge and small host pages; writes docs/measurements.md
    Fault,
    /// Instructions of allocating pages, objects and areas, and of page faults, counted by QEMU; writes docs/measurements.md and tests/data/icount.tsv
    AllocIcount {
        /// Write nothing; fail if a count is not within 2 % of the record
        #[arg(long)]
        check: bool,
    },
}

/// Measures; false if a limit is missed.
pub fn run(repo: &Repo, bench: &Bench) -> Result<bool> {
    match bench {
        Bench::Boot { runs } => boot::run(repo, *runs),
        Bench::Disk { rounds } => disk::run(repo, *rounds),
        Bench::Io { rounds } => io::run(repo, *rounds),
        Bench::Swap { rounds } => swap::run(repo, *rounds),
        Bench::Fault => fault::run(repo),
        Bench::Alloc { rounds } => alloc::run(repo, *rounds),
        Bench::AllocIcount { check: false } => icount::run(repo),
        Bench::AllocIcount { check: true } => icount::check(repo),
    }
}

/// Whether the counts of instructions are those on record.
pub fn check_counts(repo: &Repo) -> Result<bool> {
    icount::check(repo)
}
