//! What is heard of honest guests, of late looks and of garbage.

use proptest::prelude::*;
use shared::stats::MAX_PRESSURE;
use zerocopy::FromZeros;

use super::*;

const RING: u64 = MAX_PRESSURE as u64;

/// A guest that has told `count` times, event `n` at `n` ms.
fn guest(count: u64) -> PressureGroup {
    let mut group = PressureGroup::new_zeroed();
    for number in 0..count {
        let event = PressureEvent { at_us: number * 1000, stall: 1, threshold_us: 2, window_us: 3 };
        group.events[(number % RING) as usize] = event;
    }
    group.count = count;
    group
}

#[test]
fn each_event_is_heard_once_and_lost_ones_are_counted() {
    let mut log = PressureLog::default();
    assert_eq!(log.hear(&guest(0)), Vec::<String>::new());
    assert_eq!(log.hear(&guest(2)), ["pressure: full 2 3 at 0.000 s", "pressure: full 2 3 at 0.001 s"]);
    assert_eq!(log.hear(&guest(2)), Vec::<String>::new());
    let lines = log.hear(&guest(2 + RING));
    assert_eq!((lines.len(), lines[0].as_str()), (MAX_PRESSURE, "pressure: full 2 3 at 0.002 s"));
    let lines = log.hear(&guest(2 + RING + RING + 3));
    assert_eq!((lines.len(), lines[0].as_str()), (MAX_PRESSURE + 1, "pressure: 3 events were missed"));
    assert_eq!((log.events.len() as u64, log.left_out), (2 + RING + RING, 3));
    assert!(log.events.windows(2).all(|pair| pair[0].at_us < pair[1].at_us));
}

#[test]
fn a_guest_that_counts_back_is_not_heard_again() {
    let mut log = PressureLog::default();
    let _ = (log.hear(&guest(5)), log.hear(&guest(1)));
    assert_eq!(log.hear(&guest(5)), Vec::<String>::new());
    assert_eq!((log.events.len(), log.left_out), (5, 0));
}

proptest! {
    /// Whatever is told, a look gives no more than the ring holds, and the list has an end.
    #[test]
    fn what_is_heard_is_bounded(counts in prop::collection::vec(any::<u64>(), 1..20), word in any::<u64>()) {
        let mut log = PressureLog::default();
        for count in counts {
            let event = PressureEvent { at_us: word, stall: word, threshold_us: word, window_us: word };
            let mut group = PressureGroup::new_zeroed();
            (group.count, group.events) = (count, [event; MAX_PRESSURE]);
            prop_assert!(log.hear(&group).len() <= MAX_PRESSURE + 1);
        }
        log.seen = 0;
        for look in 1..=MAX_EVENTS as u64 {
            log.hear(&PressureGroup { count: look, ..PressureGroup::new_zeroed() });
        }
        prop_assert!(log.events.len() <= MAX_EVENTS);
    }
}
