//! `fuzz`: libFuzzer on each target, with the corpus of the repository as a start.
//!
//! Owns: how the fuzzer is built and run. Stays outside: the targets (`fuzz/targets`), whose corpus the ordinary
//! tests replay.
//! Invariant: the corpus in the repository is only read; what a run finds goes below the build folder.
//!
//! The flags that make coverage visible to libFuzzer are those of clang's `-fsanitize=fuzzer-no-link`. Stable
//! compilers take them, so no other toolchain is needed; libFuzzer itself is C++ and wants a C++ compiler.
//! Source: <https://clang.llvm.org/docs/SanitizerCoverage.html>, <https://llvm.org/docs/LibFuzzer.html>.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{cargo, repo::Repo};

/// Folder of the inputs that every run starts with.
const CORPUS: &str = "fuzz/corpus";
/// Naming the target keeps the flags out of build scripts.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
                     -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Options of `fuzz`.
#[derive(Args)]
pub struct Options {
    /// Time for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// End after this many executions of each target, however long they take
    #[arg(long, conflicts_with = "seconds")]
    executions: Option<u64>,
    /// Targets to fuzz; without any, all of them
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// Fuzzes; false if a target failed.
pub fn run(repo: &Repo, options: &Options) -> Result<bool> {
    let known = targets(repo)?;
    if let Some(name) = options.targets.iter().find(|name| !known.contains(name)) {
        bail!("there is no target '{name}'; the targets are: {}", known.join(" "));
    }
    let fuzzer = build(repo)?;
    let mut right = true;
    for name in known.iter().filter(|name| options.targets.is_empty() || options.targets.contains(name)) {
        right &= fuzz(repo, options, &fuzzer, name)?;
    }
    Ok(right)
}

/// The targets, each a folder of the corpus.
fn targets(repo: &Repo) -> Result<Vec<String>> {
    let folder = repo.root().join(CORPUS);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {CORPUS}"))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Builds the fuzzer and returns the path of the binary.
fn build(repo: &Repo) -> Result<String> {
    let mut build = cargo::host_apart(repo, "fuzz");
    build.current_dir(repo.root().join("fuzz")).env("RUSTFLAGS", FLAGS);
    build.args(["build", "--release", "--target", TRIPLE]);
    let messages = cargo::messages(&mut build)
        .context("libFuzzer needs a C++ compiler; on Debian: apt-get install g++")?;
    let binary = messages.iter().find_map(|message| message["executable"].as_str());
    binary.map(str::to_owned).context("cargo names no fuzzer")
}

/// Runs one target; false if it found something.
fn fuzz(repo: &Repo, options: &Options, fuzzer: &str, name: &str) -> Result<bool> {
    let found = repo.target().join("fuzz/found").join(name);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let failures = repo.target().join(format!("fuzz/failure-{name}-"));
    let limit = match options.executions {
        Some(executions) => format!("-runs={executions}"),
        None => format!("-max_total_time={}", options.seconds),
    };
    let output = Command::new(fuzzer)
        .env("FUZZ_TARGET", name)
        .args([&*limit, "-timeout=10", "-print_final_stats=1", "-verbosity=0"])
        .arg(format!("-artifact_prefix={}", failures.display()))
        .arg(&found)
        .arg(repo.root().join(CORPUS).join(name))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {fuzzer}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let number = |what| statistic(&told, what).unwrap_or("?");
    let (executions, rate) = (number("number_of_executed_units"), number("average_exec_per_sec"));
    let result = if output.status.success() { "ok" } else { "FAILED" };
    println!("fuzz {name:<10} {executions:>10} executions {rate:>8} a second  {result}");
    if !output.status.success() {
        println!("{told}\nthe input is {}*; repeat it with", failures.display());
        println!("  FUZZ_TARGET={name} {fuzzer} INPUT");
    }
    Ok(output.status.success())
}

/// A number from libFuzzer's statistics at the end of a run.
fn statistic<'t>(told: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = told.lines().filter_map(|line| line.strip_prefix("stat::")?.split_once(':'));
    lines.find(|(known, _)| *known == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests;
