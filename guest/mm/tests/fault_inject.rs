//! When an operation fails on purpose.

use mm::fault_inject::{FaultAttr, FaultConfig};

fn attr(interval: u32, probability: u32, space: u32, times: i32) -> FaultAttr {
    let attr = FaultAttr::new();
    attr.configure(FaultConfig { interval, probability, space, times });
    attr
}

/// Which of the first `calls` calls of `size` fail.
fn failures(attr: &FaultAttr, calls: usize, size: u32) -> Vec<usize> {
    (0..calls).filter(|_| attr.should_fail(size)).collect()
}

#[test]
fn nothing_fails_without_a_chance() {
    assert!(failures(&FaultAttr::new(), 1000, 1).is_empty());
    assert!(failures(&attr(1, 0, 0, -1), 1000, 1).is_empty());
    assert!(!attr(1, 0, 0, -1).is_on() && !attr(1, 100, 0, 0).is_on() && attr(1, 1, 0, -1).is_on());
}

#[test]
fn one_call_in_an_interval_fails() {
    assert_eq!(failures(&attr(4, 100, 0, -1), 13, 1), [3, 7, 11]);
    for interval in [0, 1] {
        assert_eq!(failures(&attr(interval, 100, 0, -1), 3, 1), [0, 1, 2]);
    }
}

#[test]
fn a_space_passes_first_and_is_used_up() {
    // 10 - 4 - 4 = 2, and 2 is not more than 4.
    let attr = attr(1, 100, 10, -1);
    assert_eq!(failures(&attr, 5, 4), [2, 3, 4]);
    assert_eq!(attr.config().space, 2);
}

#[test]
fn so_many_times_and_no_more() {
    let attr = attr(1, 100, 0, 2);
    assert_eq!(failures(&attr, 10, 1), [0, 1]);
    assert_eq!((attr.config().times, attr.is_on()), (0, false));
    attr.configure(FaultConfig { interval: 1, probability: 100, space: 0, times: 1 });
    assert_eq!(failures(&attr, 10, 1), [0], "configuring starts over");
}

#[test]
fn a_chance_is_kept_and_repeats() {
    const CALLS: usize = 100_000;
    for percent in [1, 25, 50, 99] {
        let (once, again) = (attr(1, percent, 0, -1), attr(1, percent, 0, -1));
        let failed = failures(&once, CALLS, 1);
        let expected = CALLS as f64 * f64::from(percent) / 100.0;
        // Five standard deviations.
        let slack = 5.0 * (expected * (1.0 - f64::from(percent) / 100.0)).sqrt();
        assert!((failed.len() as f64 - expected).abs() < slack, "{percent} %: {} of {CALLS}", failed.len());
        assert_eq!(failed, failures(&again, CALLS, 1));
    }
}

#[test]
fn two_cpus_share_the_times() {
    const TIMES: i32 = 1000;
    let attr = attr(1, 100, 0, TIMES);
    let count = || failures(&attr, 5000, 1).len();
    let total = std::thread::scope(|scope| {
        let other = scope.spawn(count);
        count() + other.join().unwrap()
    });
    assert_eq!(total, TIMES as usize);
}
