//! Runs commands under a time limit, with their output passed on and test results counted.
//!
//! Owns: the time limit and the counts. Stays outside: which commands (the verbs), the table (`report`).
//! Invariant: when [`run`] returns, neither the command nor anything it started still runs; `timeout`
//! signals the whole process group.
//! Source: the summary line of Rust's test harness, `test result: ok. 3 passed; 0 failed; ...`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

/// Exit status of `timeout` when the limit was reached.
const TIMED_OUT: i32 = 124;

/// What a command did.
#[derive(Debug, Default)]
pub struct Done {
    /// It exited with status 0.
    pub success: bool,
    /// The time limit ended it.
    pub timed_out: bool,
    /// Tests that passed, as its output tells.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// The last line of its output that is not empty.
    pub last_line: String,
}

/// Runs `command` for at most `limit` and passes its output on to standard output.
pub fn run(command: &Command, limit: Duration) -> Result<Done> {
    run_to(command, limit, "", &mut std::io::stdout().lock())
}

/// As [`run`], with `label` before the result of each test, for a suite that runs in several places.
pub fn run_labelled(command: &Command, limit: Duration, label: &str) -> Result<Done> {
    run_to(command, limit, &format!("[{label}] "), &mut std::io::stdout().lock())
}

/// As [`run`], but the output is returned.
pub fn run_quietly(command: &Command, limit: Duration) -> Result<(Done, String)> {
    let mut output = Vec::new();
    let done = run_to(command, limit, "", &mut output)?;
    Ok((done, String::from_utf8_lossy(&output).into_owned()))
}

fn run_to(command: &Command, limit: Duration, label: &str, screen: &mut impl Write) -> Result<Done> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut limited = limited(command, limit);
    let mut child = limited
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run timeout (coreutils) for {name}"))?;
    let mut done = Done::default();
    let output = child.stdout.take().context("the child has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("cannot read the output of {name}"))?;
        let text = String::from_utf8_lossy(&line);
        let label = if is_result(&text) { label } else { "" };
        writeln!(screen, "{label}{text}").context("cannot write to standard output")?;
        if let Some((passed, failed)) = test_result(&text) {
            done.passed += passed;
            done.failed += failed;
        }
        if !text.trim().is_empty() {
            done.last_line = text.trim().to_owned();
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    done.success = status.success();
    done.timed_out = status.code() == Some(TIMED_OUT);
    Ok(done)
}

/// The same command under `timeout`.
fn limited(command: &Command, limit: Duration) -> Command {
    let mut limited = Command::new("timeout");
    limited.arg("--kill-after=10").arg(limit.as_secs().to_string());
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        limited.current_dir(dir);
    }
    limited
}

/// Whether `line` tells how one test ended.
fn is_result(line: &str) -> bool {
    line.starts_with("test ") && line.contains(" ... ")
}

/// How many tests passed and failed, if `line` is a summary of the test harness.
fn test_result(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut parts = counts.split("; ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests;
