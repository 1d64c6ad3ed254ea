//! `soak`: long versions of tests, whose short versions run in `test`.
//!
//! Owns: the seeds, which are new in every run; those of `test` are always the same. Stays outside: what is done with them
//! (`tests/src/bin/soak.rs`, the property tests of `mm`).

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;

use crate::{cargo, exec, repo::Repo, seed};

/// Limit of all guests.
const LIMIT: Duration = Duration::from_secs(3600);
/// Limit of one run of the property tests, which takes half a minute.
const PROPERTIES_LIMIT: Duration = Duration::from_secs(900);

/// Options of `soak`.
#[derive(Args)]
pub struct Options {
    /// Times that the monitor is killed while its guest writes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// Seconds for which all CPUs take and free memory of every kind
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100))]
    seconds: u32,
    /// Times that the tests of mm run, each with other cases of its property tests
    #[arg(long, default_value_t = 20)]
    properties: u32,
    /// What cases and moments follow from; printed, and another one in every run without this
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the tests of `mm` with new cases, kills the monitor while its guest writes, lets all CPUs of one take and free memory,
/// and two CPUs change mappings that the other uses; false if anything was wrong or lost.
pub fn run(repo: &Repo, options: &Options) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(new_seed);
    println!("soak: seed={seed}");
    let properties = properties(repo, seed, options.properties)?;
    let mut command = cargo::host(repo);
    command.args(["run", "--quiet", "--package", "tests", "--bin", "soak"]).args(cargo::CHECKED_PROFILE);
    command.args(["--", &options.kills.to_string(), &options.seconds.to_string(), &seed.to_string()]);
    Ok(exec::run(&command, LIMIT)?.success && properties)
}

/// Runs the tests of `mm` `times` times with the seeds from `first` on, in a process each: what a simulated machine has is
/// never given back.
fn properties(repo: &Repo, first: u64, times: u32) -> Result<bool> {
    let binary = if times == 0 { String::new() } else { cargo::test_binary(&mut cargo::host(repo), "mm")? };
    let mut right = true;
    for seed in (0..times).map(|n| first.wrapping_add(n.into())) {
        let mut command = Command::new(&binary);
        // The seed is what is kept.
        command.env(seed::VARIABLE, seed.to_string()).env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        let (done, output) = exec::run_quietly(&command, PROPERTIES_LIMIT)?;
        println!("properties: seed={seed} passed={} failed={}", done.passed, done.failed);
        if !done.success {
            let name = seed::VARIABLE;
            println!(
                "{output}\nonce more: {name}={seed} cargo test {} --package mm --test mm",
                cargo::CHECKED_PROFILE.join(" ")
            );
            right = false;
        }
    }
    Ok(right)
}

/// Another one in every run.
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}
