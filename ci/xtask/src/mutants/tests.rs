use std::time::Duration;

use super::{group, limit, planted, seen_by};

#[test]
fn names_are_found_where_bugs_are_planted() {
    let text =
        "if planted(\"a.one\") { 1 } else { 2 };\nlet x = planted(\"b.two\");\nfn planted(name: &str) {}";
    assert_eq!(planted(text), ["a.one", "b.two"]);
    assert_eq!((group("a.one"), group("plain")), ("a", "plain"));
}

#[test]
fn a_verdict_names_the_first_tests() {
    let output =
        |names: &[&str]| names.iter().map(|name| format!("test {name} ... FAILED\n")).collect::<String>();
    assert_eq!(seen_by("test a ... ok\n"), "the tests crashed");
    assert_eq!(seen_by(&output(&["a", "b"])), "a, b");
    assert_eq!(seen_by(&output(&["a", "b", "c", "d"])), "a, b and 2 more");
}

#[test]
fn tests_that_take_long_without_a_bug_may_take_longer_with_one() {
    let after = |seconds| limit(Duration::from_secs(seconds)).as_secs();
    assert_eq!([0, 6, 7, 29].map(after), [30, 30, 35, 145]);
}
