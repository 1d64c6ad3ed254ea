//! Boots a guest and asserts on its facts: the beginning of a test suite of your own.
//!
//! `cargo run --release --package tests --example facts` prints them; `cargo test --package tests --examples` runs
//! the tests below. `docs/testing.md` explains the library.

use tests::linux::meminfo;
use tests::{Guest, Run, any_host};

/// A small machine that uses its allocator, and shows its memory before and after. What the CPUs keep for themselves is
/// not free; `drain` has them give it back.
fn storm() -> Run {
    let commands = ["drain; cat /proc/meminfo", "buddy storm ops=20000 seed=1", "drain; cat /proc/meminfo"];
    Guest::on(any_host()).cpus(2).mem("64M").run(&commands).report().start().assert_ok()
}

fn main() {
    let run = storm();
    let storm = run.output(1);
    println!("allocs={} frees={}", storm.number("allocs"), storm.number("frees"));
    println!("free={} kB", meminfo(run.output(2), "MemFree"));
    println!("ring={} on {}", run.report()["guest"]["ring"], run.report()["accelerator"]);
}

#[test]
fn a_storm_loses_no_page() {
    let run = storm();
    let storm = run.output(1);
    assert!(storm.number("allocs") > 1000, "{run}");
    assert_eq!(storm.number("allocs"), storm.number("frees"), "{run}");
    assert_eq!(meminfo(run.output(0), "MemFree"), meminfo(run.output(2), "MemFree"), "{run}");
}

#[test]
fn the_report_agrees_with_the_console() {
    let run = storm();
    let report = run.report();
    assert_eq!(report["guest"]["meminfo"]["MemFree"], meminfo(run.output(2), "MemFree"), "{run}");
    assert_eq!(report["exit"]["status"], 0);
}
