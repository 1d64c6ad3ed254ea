//! Tests of counting, exit statuses and the time limit.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Done, run_to, test_result};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Runs without showing the output: summaries in it would be counted by whoever runs these tests.
fn run(command: &Command, limit: Duration) -> Result<Done> {
    run_to(command, limit, "", &mut std::io::sink())
}

#[test]
fn reads_harness_summaries_only() {
    let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
    assert_eq!(test_result(line), Some((12, 3)));
    assert_eq!(test_result("test result: ok. many passed; 0 failed"), None);
    assert_eq!(test_result("12 passed; 3 failed"), None);
}

#[test]
fn labels_the_results_of_tests_only() {
    let script =
        "echo running 1 test; echo test disks::first ... ok; echo 'test result: ok. 0 passed; 0 failed;'";
    let mut screen = Vec::new();
    run_to(&shell(script), Duration::from_secs(10), "[here] ", &mut screen).unwrap();
    let lines = "running 1 test\n[here] test disks::first ... ok\ntest result: ok. 0 passed; 0 failed;\n";
    assert_eq!(String::from_utf8(screen).unwrap(), lines);
}

#[test]
fn sums_over_all_binaries() {
    let script = "for n in 2 5; do echo \"test result: ok. $n passed; 1 failed; 0 ignored\"; done";
    let done = run(&shell(script), Duration::from_secs(10)).unwrap();
    assert!(done.success);
    assert_eq!((done.passed, done.failed), (7, 2));
}

#[test]
fn a_failing_command_is_no_success() {
    let done = run(&shell("exit 3"), Duration::from_secs(10)).unwrap();
    assert!(!done.success && !done.timed_out);
}

#[test]
fn the_limit_ends_grandchildren_too() {
    let start = Instant::now();
    let done = run(&shell("sleep 60 & wait"), Duration::from_secs(1)).unwrap();
    assert!(done.timed_out && !done.success);
    assert!(start.elapsed() < Duration::from_secs(30), "the sleeping grandchild kept the pipe open");
}

#[test]
fn the_environment_of_the_command_is_kept() {
    let mut command = shell("test \"$XTASK_PROBE\" = set && test -z \"$HOME\"");
    command.env("XTASK_PROBE", "set").env_remove("HOME");
    assert!(run(&command, Duration::from_secs(10)).unwrap().success);
}
