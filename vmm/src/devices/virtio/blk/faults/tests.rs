//! Which requests are hit, and when the others may be answered.

use super::*;

fn injector(plan: FaultPlan) -> Injector {
    Injector::new(plan)
}

#[test]
fn bad_sectors_hit_what_touches_them() {
    let plan = FaultPlan { bad_reads: vec![10], bad_writes: vec![0, 20], ..FaultPlan::default() };
    let mut faults = injector(plan);
    let mut verdict = |kind, sector, sectors: u64| faults.judge(kind, sector, sectors * 512);
    assert_eq!(verdict(Kind::Read, 9, 1), Verdict::Pass);
    assert_eq!(verdict(Kind::Read, 9, 2), Verdict::Fail);
    assert_eq!(verdict(Kind::Read, 10, 1), Verdict::Fail);
    assert_eq!(verdict(Kind::Read, 11, 8), Verdict::Pass);
    assert_eq!(verdict(Kind::Read, 20, 1), Verdict::Pass);
    assert_eq!(verdict(Kind::Write, 10, 1), Verdict::Pass);
    assert_eq!(verdict(Kind::Write, 0, 1), Verdict::Fail);
    assert_eq!(verdict(Kind::Write, 13, 8), Verdict::Fail);
    assert_eq!(verdict(Kind::Write, u64::MAX, 8), Verdict::Pass);
    assert_eq!(verdict(Kind::Flush, 0, 0), Verdict::Pass);
}

#[test]
fn one_request_fails_and_one_write_is_torn() {
    let plan = FaultPlan { fail_nth: Some(3), torn_write: Some(2), ..FaultPlan::default() };
    let mut faults = injector(plan);
    assert_eq!(faults.judge(Kind::Write, 0, 512), Verdict::Pass);
    assert_eq!(faults.judge(Kind::Read, 0, 512), Verdict::Pass);
    assert_eq!(faults.judge(Kind::Flush, 0, 0), Verdict::Fail);
    assert_eq!(faults.judge(Kind::Write, 0, 5 * 512), Verdict::Torn(2 * 512));
    for _ in 0..10 {
        assert_eq!(faults.judge(Kind::Write, 0, 512), Verdict::Pass);
    }
}

#[test]
fn a_slow_disk_answers_in_its_own_time() {
    let now = Instant::now();
    assert_eq!(injector(FaultPlan::default()).release(now, 1 << 30), None);
    let latency = Duration::from_millis(5);
    let mut slow = injector(FaultPlan { latency: Some(latency), ..FaultPlan::default() });
    assert_eq!(slow.release(now, 512), Some(now + latency));
    assert_eq!(slow.release(now, 512), Some(now + latency), "side by side");

    let mut narrow = injector(FaultPlan { bytes_per_second: Some(1024), ..FaultPlan::default() });
    let half = Duration::from_millis(500);
    assert_eq!(narrow.release(now, 512), Some(now + half));
    assert_eq!(narrow.release(now, 512), Some(now + 2 * half), "one after the other");
    let later = now + 10 * half;
    assert_eq!(narrow.release(later, 1024), Some(later + 2 * half), "idle time is not saved up");
    assert!(narrow.release(later, u64::MAX).is_some());
}
