//! Tests of reading phases and of the verdicts.

use std::time::Duration;

use super::{Cell, Monitor, Start, limits, phase};
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

/// Runs with one size: when the first command's output came, and what of that were memory slots, in ms.
fn start<const N: usize>(memory: &'static str, runs: [(u64, u64); N]) -> Start {
    let times = |time: fn((u64, u64)) -> u64| runs.map(|run| Duration::from_millis(time(run))).to_vec();
    let phases = vec![("vm".to_owned(), times(|_| 1)), ("memslots".to_owned(), times(|(_, slots)| slots))];
    Start { memory, phases, first_command: times(|(command, _)| command) }
}

#[test]
fn the_slots_are_taken_out_of_the_ratio() {
    let cells = [cell("256M", 5, 10), cell("512M", 6, 12), cell("16G", 7, 99)];
    let cells: Vec<_> = cells.iter().collect();
    let starts = |slots| [start("256M", [(10, 0)]), start("512M", [(12, 0)]), start("16G", [(22, slots)])];
    assert!(limits(&cells, &starts(8), 4000));
    assert!(!limits(&cells, &starts(6), 4000), "16 / 10 is over 1.5");
    assert!(!limits(&cells, &starts(8), 6000), "memory over 5 MiB");
}

#[test]
fn slots_are_taken_out_of_the_run_they_were_measured_in() {
    // The medians alone, 20 and 5, would leave 15.
    let rest = start("16G", [(14, 4), (20, 10), (40, 5)]).rest();
    assert_eq!(rest, Spread::of([10, 10, 35].map(Duration::from_millis).to_vec()).unwrap());
    let nameless = Start { phases: Vec::new(), ..start("16G", [(14, 4)]) };
    assert_eq!(nameless.rest().median, Duration::from_millis(14));
}

#[test]
fn slow_starts_miss() {
    let starts = ["256M", "512M", "16G"].map(|memory| start(memory, [(10, 0)]));
    let late_output = [cell("256M", 9, 10), cell("512M", 9, 10), cell("16G", 9, 10)];
    assert!(!limits(&late_output.iter().collect::<Vec<_>>(), &starts, 0));
    let late_command = [cell("256M", 5, 26), cell("512M", 5, 26), cell("16G", 5, 26)];
    assert!(!limits(&late_command.iter().collect::<Vec<_>>(), &starts, 0));
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
