//! Buckets cover all times without gaps, and quantiles are upper bounds.

use super::*;

#[test]
fn every_time_lies_in_its_bucket() {
    let times = (0..64u32).flat_map(|power| {
        let base = 1u64 << power;
        [base, base + base / 4, base + base / 2, base + (base - 1), base.wrapping_sub(1)]
    });
    for ns in times.filter(|&ns| ns >= 4) {
        let index = bucket(ns);
        assert!(index < BUCKETS);
        assert!(ns < end(index) || end(index) == u64::MAX, "{ns}");
        assert!(index == bucket(4) || ns >= end(index - 1), "{ns} is not in the bucket before");
    }
}

#[test]
fn quantiles_are_upper_bounds() {
    let histogram = Histogram::default();
    assert_eq!((histogram.count(), histogram.quantile(500)), (0, Duration::ZERO));
    for us in 1..=1000 {
        histogram.record(Duration::from_micros(us));
    }
    assert_eq!(histogram.count(), 1000);
    for permille in [1, 500, 900, 990, 1000] {
        let exact = Duration::from_micros(permille);
        let told = histogram.quantile(permille);
        assert!(told >= exact && told <= exact * 5 / 4 + Duration::from_nanos(1), "{permille}: {told:?}");
    }
    let buckets = histogram.buckets();
    assert!(buckets.is_sorted());
    assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 1000);
    histogram.record(Duration::MAX);
    histogram.record(Duration::ZERO);
    assert_eq!(histogram.count(), 1002);
}
