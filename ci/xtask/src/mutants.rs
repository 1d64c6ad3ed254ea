//! `mutants`: every bug that is planted in `mm` must be seen by a test.
//!
//! Owns: finding the bugs in the sources, one run of the tests for each, and the table. Stays outside: the bugs.
//! Invariant: a run proves something only if the same tests pass with no bug active, so that is looked at first.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::repo::Repo;
use crate::report::Outcome;
use crate::{cargo, exec, seed};

/// Where bugs are planted.
const SOURCES: &str = "guest/mm/src/";
/// What plants one.
const MARK: &str = "planted(\"";
/// A bug may make a test run for ever; then the limit sees it. Tests that take long without one may take longer with one.
const LIMIT: Duration = Duration::from_secs(30);
/// How many times as long as without a bug.
const FACTOR: u32 = 5;
/// Limit of the tests without a bug, which are not expected to hang.
const PLAIN_LIMIT: Duration = Duration::from_secs(240);
/// Chooses the bug.
const VARIABLE: &str = "MM_MUTANT";
/// Printed names of tests.
const SHOWN: usize = 2;

/// Runs the tests once for each bug; what is not seen counts as failed.
pub fn run(repo: &Repo) -> Result<Outcome> {
    let names = names(repo)?;
    if names.is_empty() {
        bail!("no bug is planted in {SOURCES}");
    }
    let binary = build(repo)?;
    let mut groups: Vec<_> = names.iter().map(|name| group(name)).collect();
    groups.dedup();
    let mut limits = BTreeMap::new();
    for group in groups {
        let start = Instant::now();
        let (done, output) = tests(&binary, group, None, PLAIN_LIMIT)?;
        limits.insert(group, limit(start.elapsed()));
        if !done.success || done.passed == 0 {
            bail!("the tests of {group} do not pass without a bug:\n{output}");
        }
    }
    let mut seen = 0;
    for name in &names {
        let limit = limits.get(group(name)).copied().unwrap_or(LIMIT);
        let (done, output) = tests(&binary, group(name), Some(name), limit)?;
        let verdict = if done.timed_out {
            "a test did not end".to_owned()
        } else if done.success {
            "NOT SEEN".to_owned()
        } else {
            seen_by(&output)
        };
        seen += u64::from(!done.success);
        println!("{name:<40} {verdict}");
    }
    let count = names.len() as u64;
    println!("mutants: {count} planted, {seen} seen");
    let mut outcome = Outcome::check(seen == count);
    (outcome.passed, outcome.failed) = (seen, count - seen);
    Ok(outcome)
}

/// The names of all bugs, each once, in order.
fn names(repo: &Repo) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in repo.files(&[".rs"])?.into_iter().filter(|path| path.starts_with(SOURCES)) {
        for name in planted(&repo.read(&path)?) {
            if !names.insert(name.clone()) {
                bail!("{path}: a second bug is called {name}; every bug has a name of its own");
            }
        }
    }
    Ok(names)
}

/// The names of the bugs in a source.
fn planted(text: &str) -> Vec<String> {
    text.split(MARK)
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Which tests have to see a bug: what stands before the dot.
fn group(name: &str) -> &str {
    name.split_once('.').map_or(name, |(group, _)| group)
}

/// Builds the tests of `mm` with the bugs in them; the path of the binary.
fn build(repo: &Repo) -> Result<String> {
    let mut build = cargo::host_apart(repo, "mutants");
    cargo::test_binary(build.env("RUSTFLAGS", "--cfg mutants"), "mm")
}

/// How long tests may take with a bug that take `plain` without one.
fn limit(plain: Duration) -> Duration {
    LIMIT.max(plain * FACTOR)
}

/// Runs the tests of a group with one bug active, or none.
fn tests(binary: &str, group: &str, bug: Option<&str>, limit: Duration) -> Result<(exec::Done, String)> {
    let mut command = Command::new(binary);
    // What fails by design is nothing to remember.
    command.arg(group).env_remove(VARIABLE).env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
    if let Some(bug) = bug {
        command.env(VARIABLE, bug);
    }
    seed::fix(&mut command);
    exec::run_quietly(&command, limit)
}

/// The first tests that failed.
fn seen_by(output: &str) -> String {
    let failed: Vec<_> =
        output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect();
    let shown = failed.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match failed.len() {
        0 => "the tests crashed".to_owned(),
        n if n > SHOWN => format!("{shown} and {} more", n - SHOWN),
        _ => shown,
    }
}

#[cfg(test)]
mod tests;
