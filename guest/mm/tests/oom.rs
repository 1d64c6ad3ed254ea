//! Who goes when memory is out.

use mm::oom::{ADJ_MAX, ADJ_MIN, Candidate, Policy};

const TOTAL: u64 = 100_000;

fn with(rss: u64, adj: i32) -> Candidate {
    Candidate { rss, adj, ..Candidate::default() }
}

#[test]
fn badness_is_memory_and_adjustment() {
    let all = Candidate { rss: 100, swapents: 20, tables: 3, ..Candidate::default() };
    assert_eq!(Policy::Badness.badness(&all, TOTAL), Some(123));
    assert_eq!(Policy::Badness.badness(&with(100, 10), TOTAL), Some(100 + 10 * 100));
    assert_eq!(Policy::Badness.badness(&with(100, -999), TOTAL), Some(100 - 999 * 100));
    assert_eq!(Policy::Badness.badness(&with(100, ADJ_MIN), TOTAL), None, "immune");
    // Linux divides before it multiplies.
    assert_eq!(Policy::Badness.badness(&with(0, 1), 1999), Some(1));
}

#[test]
fn scores_are_those_of_proc() {
    let score = |candidate| Policy::Badness.score(&candidate, TOTAL);
    assert_eq!(score(with(0, 0)), 666);
    assert_eq!(score(with(TOTAL, 0)), 1333);
    assert_eq!(score(with(TOTAL / 2, 0)), 1000);
    assert_eq!(score(with(0, ADJ_MIN)), 0);
    assert_eq!(score(with(0, ADJ_MAX)), 1333);
    assert_eq!(Policy::Badness.score(&with(5, 0), 0), 4000, "without memory nothing is divided by 0");
}

#[test]
fn the_worst_is_chosen_and_of_equals_the_later() {
    let select = |all: &[Candidate]| Policy::Badness.select(all.iter().copied().enumerate(), TOTAL);
    assert_eq!(select(&[]), None);
    assert_eq!(select(&[with(5, ADJ_MIN), with(9, ADJ_MIN)]), None);
    assert_eq!(select(&[with(5, 0), with(9, 0), with(7, 0)]), Some(1));
    assert_eq!(select(&[with(9, 0), with(9, 0), with(7, 0)]), Some(1));
    assert_eq!(select(&[with(90_000, -500), with(9, 0)]), Some(0), "half of it counts, and that is more");
    assert_eq!(select(&[with(40_000, -500), with(9, 0)]), Some(1));
    // All may be below zero: one of them goes all the same.
    assert_eq!(select(&[with(1, -900), with(1, -800)]), Some(1));
}

#[test]
fn the_older_policy_doubles_for_nice_and_divides_by_age() {
    let badness = |nice, run_time| {
        let candidate = Candidate { rss: 1000, nice, run_time, ..Candidate::default() };
        Policy::Legacy.badness(&candidate, TOTAL)
    };
    assert_eq!(
        [badness(0, 0), badness(-20, 0), badness(1, 0), badness(19, 0)].map(Option::unwrap),
        [1000, 1000, 2000, 2000]
    );
    // The fourth root of the age in units of 1024 seconds.
    assert_eq!(
        [badness(0, 1 << 14), badness(0, 81 << 10), badness(5, 81 << 10)].map(Option::unwrap),
        [500, 333, 666]
    );
}
