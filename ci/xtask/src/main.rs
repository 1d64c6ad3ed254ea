//! `cargo xtask`: the one door for checks.
//!
//! Owns: the verbs. Stays outside: what a verb does (one file each).
//! Invariant: continuous integration and people run the same verbs; there is no second way to check.

mod bench;
mod cargo;
mod ci;
mod clippy;
mod exec;
mod fmt;
mod fuzz;
mod hwkvm;
mod layers;
mod mutants;
mod repo;
mod report;
mod rows;
mod rust;
mod seed;
mod setup;
mod soak;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::repo::Repo;

/// Checks, tests and benchmarks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the tests need (Debian, as root); says nothing when all is there
    Setup,
    /// Format all workspaces
    Fmt {
        /// Change nothing; fail if something is not formatted
        #[arg(long)]
        check: bool,
    },
    /// Run clippy on both workspaces, warnings are errors
    Clippy,
    /// Check directions between crates and modules, sizes, markers and the budget of unsafe code
    Layers,
    /// Check docs/rows.md against the tests in the tree
    Rows,
    /// Run all checks and tests, or only the steps named
    Test {
        /// Steps to run; without any, all of them
        #[arg(value_name = "STEP")]
        steps: Vec<String>,
    },
    /// Run integration tests, or a command, where KVM runs ring 0 in hardware (emulated by QEMU)
    Hwkvm {
        /// Words of test names; without any, all that depend on KVM
        #[arg(value_name = "TEST")]
        tests: Vec<String>,
        /// Run this line of shell instead, like "vmm probe"
        #[arg(long, conflicts_with = "tests")]
        shell: Option<String>,
    },
    /// setup, then test: what continuous integration runs
    Ci,
    /// Fuzz for a while, a minute each; not part of `test`, which replays the corpus
    Fuzz(fuzz::Options),
    /// Run the tests of mm once for each bug that is planted in it
    Mutants,
    /// Long versions of tests; not part of `test`
    Soak(soak::Options),
    /// Measure; not part of `test`
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.verb) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a verb; false means that something it checks is wrong and that it has said what.
fn run(verb: Verb) -> Result<bool> {
    let repo = Repo::find()?;
    match verb {
        Verb::Setup => setup::run().and_then(|()| hwkvm::prepare(&repo)).map(|()| true),
        Verb::Fmt { check } => fmt::run(&repo, check),
        Verb::Clippy => clippy::run(&repo),
        Verb::Layers => layers::run(&repo),
        Verb::Rows => rows::run(&repo),
        Verb::Test { steps } => test::run(&repo, &steps),
        Verb::Hwkvm { tests, shell } => {
            if let Some(why) = hwkvm::missing() {
                bail!("{why}");
            }
            let job = shell.as_deref().map_or(hwkvm::Job::Tests(&tests), hwkvm::Job::Shell);
            hwkvm::run(&repo, &job).map(|done| done.success && done.failed == 0)
        }
        Verb::Ci => ci::run(&repo),
        Verb::Fuzz(options) => fuzz::run(&repo, &options),
        Verb::Mutants => test::run(&repo, &["mutants".to_owned()]),
        Verb::Soak(options) => soak::run(&repo, &options),
        Verb::Bench(bench) => bench::run(&repo, &bench),
    }
}
