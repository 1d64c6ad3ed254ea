//! `test`: every check and test, in order, with the time each takes.
//!
//! Owns: the list of steps and their time limits. Stays outside: what the tests test.
//! Invariant: a step that fails does not hide the ones after it.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::report::{Outcome, Report};
use crate::{bench, cargo, clippy, exec, fmt, hwkvm, layers, mutants, repo::Repo, rows, seed, setup};

/// A step: its name and what it does.
#[derive(Clone, Copy)]
pub struct Step {
    name: &'static str,
    run: fn(&Repo) -> Result<Outcome>,
}

/// Limit of one step, which guards against hanging alone: in a fresh clone it includes the build. The whole must stay below 25
/// minutes on two cores.
const LIMIT: Duration = Duration::from_secs(900);

/// What only `ci` does first.
pub const SETUP: Step = Step { name: "setup", run: setup };

/// The steps, cheapest first.
pub const STEPS: [Step; 13] = [
    Step { name: "layers", run: |repo| layers::run(repo).map(Outcome::check) },
    Step { name: "rows", run: |repo| rows::run(repo).map(Outcome::check) },
    Step { name: "fmt", run: |repo| fmt::run(repo, true).map(Outcome::check) },
    Step { name: "clippy", run: |repo| clippy::run(repo).map(Outcome::check) },
    Step { name: "host", run: host },
    Step { name: "loom", run: loom },
    Step { name: "mutants", run: mutants::run },
    Step { name: "guest", run: guest },
    Step { name: "microvm", run: microvm },
    Step { name: "hwkvm", run: hwkvm },
    Step { name: "icount", run: icount },
    Step { name: "asan", run: asan },
    Step { name: "valgrind", run: valgrind },
];

/// Runs the steps named, or all.
pub fn run(repo: &Repo, names: &[String]) -> Result<bool> {
    if let Some(name) = names.iter().find(|name| !STEPS.iter().any(|step| step.name == **name)) {
        let known: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        bail!("there is no step '{name}'; the steps are: {}", known.join(" "));
    }
    let wanted = |step: &Step| names.is_empty() || names.iter().any(|name| name == step.name);
    let steps: Vec<_> = STEPS.into_iter().filter(wanted).collect();
    run_steps(repo, &steps)
}

/// Runs `steps` in order and prints the table; false if anything failed.
pub fn run_steps(repo: &Repo, steps: &[Step]) -> Result<bool> {
    let mut report = Report::default();
    for step in steps {
        println!("==> {}", step.name);
        let start = Instant::now();
        let outcome = (step.run)(repo).unwrap_or_else(|error| Outcome::failed(format!("{error:#}")));
        report.add(step.name, outcome, start.elapsed());
    }
    println!("\n{report}");
    Ok(report.totals().1 == 0)
}

/// Programs, and the packages that the harness unpacks.
fn setup(repo: &Repo) -> Result<Outcome> {
    setup::run()?;
    hwkvm::prepare(repo)?;
    Ok(Outcome::check(true))
}

/// `cargo test` of what `selection` names, in the profile of tests.
fn tests(cargo: Command, selection: &[&str]) -> Result<Outcome> {
    Ok(Outcome::tests(&exec::run(&test_command(cargo, selection), LIMIT)?))
}

/// The same with guests on one kind of host, which `TEST_HOSTS` names and each result then tells.
fn tests_on(host: &str, mut cargo: Command, selection: &[&str]) -> Result<Outcome> {
    cargo.env("TEST_HOSTS", host);
    Ok(Outcome::tests(&exec::run_labelled(&test_command(cargo, selection), LIMIT, host)?))
}

fn test_command(mut cargo: Command, selection: &[&str]) -> Command {
    cargo.args(["test", "--no-fail-fast"]).args(cargo::CHECKED_PROFILE).args(selection);
    seed::fix(&mut cargo);
    cargo
}

/// Everything that runs in a process, with its documentation examples.
fn host(repo: &Repo) -> Result<Outcome> {
    tests(cargo::host(repo), &["--workspace", "--exclude", "tests"])
}

/// The locks and lock-free words of `mm` under every interleaving: the unit tests of a build for loom.
fn loom(repo: &Repo) -> Result<Outcome> {
    let mut command = cargo::host_apart(repo, "loom");
    command.env("RUSTFLAGS", "--cfg loom");
    tests(command, &["--package", "mm", "--lib"])
}

/// Real guests on this machine's KVM, or on what is here without one.
fn guest(repo: &Repo) -> Result<Outcome> {
    tests_on("kvm", cargo::host(repo), &["--package", "tests"])
}

/// What of that depends on the host, on QEMU's microvm.
fn microvm(repo: &Repo) -> Result<Outcome> {
    if !setup::installed("qemu-system-x86_64") {
        return Ok(Outcome::skipped("qemu-system-x86_64 is not installed; `cargo xtask setup` installs it"));
    }
    let selection = ["--package", "tests", "--test", "tests", "--"];
    tests_on("microvm", cargo::host(repo), &[selection.as_slice(), &hwkvm::suite()].concat())
}

/// The same on KVM that runs ring 0 in hardware, in both rings.
fn hwkvm(repo: &Repo) -> Result<Outcome> {
    match hwkvm::missing() {
        Some(why) => Ok(Outcome::skipped(why)),
        None => Ok(Outcome::tests(&hwkvm::run(repo, &hwkvm::Job::Tests(&[]))?)),
    }
}

/// Instructions per operation, which repeat exactly, against the record.
fn icount(repo: &Repo) -> Result<Outcome> {
    if !setup::installed("qemu-system-x86_64") {
        return Ok(Outcome::skipped("qemu-system-x86_64 is not installed; `cargo xtask setup` installs it"));
    }
    bench::check_counts(repo).map(Outcome::check)
}

/// The memory manager and the simulated machine under AddressSanitizer.
fn asan(repo: &Repo) -> Result<Outcome> {
    let Some(mut command) = cargo::nightly(repo, "asan") else {
        return Ok(Outcome::skipped("AddressSanitizer needs a nightly toolchain and none is installed"));
    };
    command.env("RUSTFLAGS", "-Zsanitizer=address");
    // Naming the target keeps the sanitizer out of build scripts.
    let target = ["--target", "x86_64-unknown-linux-gnu"];
    let packages = ["--package", "mm", "--package", "sim", "--lib", "--tests"];
    tests(command, &[packages.as_slice(), &target].concat())
}

/// The simulated machine under valgrind: uninitialised reads, which the sanitizer misses. Leaks are the
/// sanitizer's part; here the test harness itself would be reported.
fn valgrind(repo: &Repo) -> Result<Outcome> {
    if !setup::installed("valgrind") {
        return Ok(Outcome::skipped("valgrind is not installed; `cargo xtask setup` installs it"));
    }
    let binary = cargo::test_binary(&mut cargo::host(repo), "sim")?;
    let mut command = Command::new("valgrind");
    // The test left out maps 128 GiB, and valgrind keeps book of every page.
    let tests = ["--test-threads=1", "--skip", "five_hundred_machines"];
    command.args(["--quiet", "--error-exitcode=97"]).arg(binary).args(tests);
    Ok(Outcome::tests(&exec::run(&command, LIMIT)?))
}
