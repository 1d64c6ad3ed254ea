//! Tests of what counts as passed.

use std::time::Duration;

use super::{Ending, Outcome, Report};
use crate::exec::Done;

#[test]
fn a_test_run_without_tests_fails() {
    let done = Done { success: true, ..Done::default() };
    assert_eq!(Outcome::tests(&done), Outcome::failed("no test ran"));
}

#[test]
fn a_crash_counts_even_when_no_test_failed() {
    let done = Done { passed: 7, ..Done::default() };
    let outcome = Outcome::tests(&done);
    assert_eq!((outcome.passed, outcome.failed), (7, 1));
    assert_eq!(outcome.ending, Ending::Failed("did not build or crashed".to_owned()));
}

#[test]
fn a_time_limit_is_named() {
    let done = Done { timed_out: true, passed: 1, ..Done::default() };
    assert_eq!(Outcome::tests(&done).ending, Ending::Failed("time limit".to_owned()));
}

#[test]
fn the_last_line_is_plain_and_skips_are_named() {
    let mut report = Report::default();
    let done = Done { success: true, passed: 40, ..Done::default() };
    report.add("host", Outcome::tests(&done), Duration::from_secs(3));
    report.add("fmt", Outcome::check(false), Duration::from_secs(1));
    report.add("asan", Outcome::skipped("no nightly"), Duration::ZERO);
    let text = report.to_string();
    assert_eq!(text.lines().last(), Some("40 passed, 1 failed"));
    assert!(text.contains("NOT CHECKED HERE: asan: no nightly"));
}
