//! Tests of reading phases and of the verdicts.

use std::time::Duration;

use super::{Cell, Monitor, limits, phase};
use crate::bench::stats::Spread;

#[test]
fn phases_are_read_from_the_statistics() {
    assert_eq!(phase("time.memslots_us=420"), Some(("memslots", Duration::from_micros(420))));
    assert_eq!(phase("time.total_us=x"), None);
    assert_eq!(phase("MemTotal: 5 kB"), None);
}

fn cell(memory: &'static str, output: u64, command: u64) -> Cell {
    Cell {
        name: "vmm run",
        monitor: Monitor::Vmm,
        memory,
        first_output: vec![Duration::from_millis(output)],
        first_command: vec![Duration::from_millis(command)],
        error: None,
    }
}

#[test]
fn the_slots_are_taken_out_of_the_ratio() {
    let cells = [cell("256M", 5, 10), cell("512M", 6, 12), cell("16G", 7, 22)];
    let cells: Vec<_> = cells.iter().collect();
    let slot = |ms| Some(Duration::from_millis(ms));
    assert!(limits(&cells, &[slot(0), slot(0), slot(8)], 4000));
    assert!(!limits(&cells, &[slot(0), slot(0), slot(6)], 4000), "16 / 10 is over 1.5");
    assert!(!limits(&cells, &[slot(0), slot(0), slot(8)], 6000), "memory over 5 MiB");
}

#[test]
fn slow_starts_miss() {
    let slots = [Some(Duration::ZERO); 3];
    let late_output = [cell("256M", 9, 10), cell("512M", 9, 10), cell("16G", 9, 10)];
    assert!(!limits(&late_output.iter().collect::<Vec<_>>(), &slots, 0));
    let late_command = [cell("256M", 5, 26), cell("512M", 5, 26), cell("16G", 5, 26)];
    assert!(!limits(&late_command.iter().collect::<Vec<_>>(), &slots, 0));
}

#[test]
fn spreads_are_of_the_sorted_samples() {
    let spread = Spread::of([5, 1, 9].map(Duration::from_millis).to_vec()).unwrap();
    assert_eq!((spread.min, spread.median, spread.max), {
        let t = Duration::from_millis;
        (t(1), t(5), t(9))
    });
    assert_eq!(Spread::of(Vec::new()), None);
}
