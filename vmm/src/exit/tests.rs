//! Exit statuses and the one-shot signal.

use super::*;

#[test]
fn every_end_has_its_status() {
    for code in 0..=8 {
        assert_eq!(End::Guest(code).status(), code as u8);
        assert_eq!(End::Guest(code).to_string(), "");
    }
    let text = String::from("x");
    let cases = [
        (End::Guest(9), 6),
        (End::Guest(u32::MAX), 6),
        (End::Reset, 0),
        (End::Crash(text.clone()), 6),
        (End::Timeout, 7),
        (End::Failure(text), 8),
        (End::Interrupted, 130),
    ];
    for (end, status) in cases {
        assert_eq!(end.status(), status, "{end:?}");
    }
    assert_eq!(End::Guest(9).to_string(), "the guest ended with the unknown status 9");
}

#[test]
fn the_first_end_wins_and_raises_the_event_once() {
    let signal = EndSignal::new().unwrap();
    assert_eq!(signal.end(), None);
    assert!(signal.event().read().is_err());
    signal.report(End::Guest(3));
    signal.report(End::Timeout);
    assert_eq!(signal.end(), Some(&End::Guest(3)));
    assert_eq!(signal.event().read().unwrap(), 1);
}
