//! Tests of the clock and of ends.

use std::process::Command;
use std::time::Duration;

use super::watch;

const LIMIT: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn times_are_those_of_the_output() {
    let mut alive = false;
    let script = "sleep 0.2; echo first; sleep 0.2; echo mar; echo ker; sleep 0.1; exit 3";
    let seen = watch(&mut shell(script), "mar\nker", LIMIT, |pid| {
        alive = std::path::Path::new(&format!("/proc/{pid}/stat")).exists();
    });
    let seen = seen.unwrap();
    assert!(alive, "the marker is reported while the process runs");
    assert!(seen.first_output >= Duration::from_millis(200));
    assert!(seen.marker >= seen.first_output + Duration::from_millis(190));
    assert_eq!(seen.status.code(), Some(3));
    assert_eq!(seen.output, "first\nmar\nker\n");
}

#[test]
fn a_machine_that_says_nothing_is_ended() {
    let error = watch(&mut shell("exec sleep 60"), "x", Duration::from_millis(200), |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("no end after"), "{error}");
}

#[test]
fn a_missing_marker_shows_the_error_line() {
    let script = "echo hello; echo 'vmm: no such thing' >&2; exit 2";
    let error = watch(&mut shell(script), "ready", LIMIT, |_| {}).unwrap_err().to_string();
    assert!(error.contains("'ready' was never printed") && error.ends_with("vmm: no such thing"), "{error}");
}
