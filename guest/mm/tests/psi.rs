//! Pressure: states of CPUs against a model that looks every millisecond, averages against the exponentials, triggers.

use mm::port::{CpuId, Machine as _};
use mm::psi::{Bad, Kind, Psi, TaskChange, Trigger};
use proptest::prelude::*;
use sim::Machine;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

fn machine(cpus: u32) -> Machine {
    Machine::builder().ram(0..4096).cpus(cpus).build()
}

fn change(running: i32, stalled: i32, stalled_running: i32) -> TaskChange {
    TaskChange { running, stalled, stalled_running }
}

#[test]
fn one_who_waits_alone_is_full_and_beside_another_is_some() {
    let machine = machine(1);
    let (cpu, psi) = (machine.cpu(), Psi::new());
    let step = |tasks, ms| {
        psi.change(cpu, CpuId(0), tasks);
        cpu.pass(ms * MS);
    };
    step(change(2, 0, 0), 100);
    // One of two makes room for itself, then waits for a disk, then the other waits, too.
    step(change(0, 1, 1), 30);
    step(change(-1, 0, -1), 50);
    step(change(-1, 1, 0), 20);
    step(change(2, -2, 0), 100);
    let [some, full] = psi.pressure(cpu);
    assert_eq!((some.total, full.total), (100_000, 20_000));
    assert_eq!((psi.total(cpu, Kind::Some), psi.total(cpu, Kind::Full)), (100 * MS, 20 * MS));
}

#[test]
fn an_idle_cpu_counts_for_nothing() {
    let machine = machine(3);
    let (cpu, psi) = (machine.cpu(), Psi::new());
    psi.change(cpu, CpuId(0), change(0, 1, 0));
    psi.change(cpu, CpuId(1), change(1, 0, 0));
    cpu.pass(SECOND);
    // CPU 2 was idle; of two busy CPUs one waited all the time.
    let [some, full] = psi.pressure(cpu);
    assert_eq!((some.total, full.total), (500_000, 500_000));
}

#[test]
fn averages_rise_and_fall_as_the_exponentials_do() {
    let machine = machine(1);
    let (cpu, psi) = (machine.cpu(), Psi::new());
    psi.change(cpu, CpuId(0), change(0, 1, 0));
    let percent = |psi: &Psi| {
        let [some, _] = psi.pressure(cpu);
        some.averages.map(|share| share.percent as f64 + share.hundredths as f64 / 100.0)
    };
    let mut now = 0.0_f64;
    for _ in 0..60 {
        cpu.pass(2 * SECOND);
        now += 2.0;
        for (average, over) in percent(&psi).into_iter().zip([10.0, 60.0, 300.0]) {
            let expected = 100.0 * (1.0 - (-now / over).exp());
            // Eleven bits hold the factor of 300 seconds to 3 %.
            assert!(
                (average - expected).abs() < 0.6 + 0.03 * expected,
                "after {now} s over {over}: {average}, not {expected}"
            );
        }
    }
    let peak = percent(&psi);
    psi.change(cpu, CpuId(0), change(0, -1, 0));
    // Nobody looks for 20 seconds.
    cpu.pass(20 * SECOND);
    for ((average, over), peak) in percent(&psi).into_iter().zip([10.0, 60.0, 300.0]).zip(peak) {
        let expected = peak * (-20.0_f64 / over).exp();
        assert!((average - expected).abs() < 0.8 + 0.03 * expected, "over {over}: {average}, not {expected}");
    }
    assert_eq!(psi.pressure(cpu)[0].total, 120_000_000);
}

#[test]
fn a_trigger_fires_once_a_window() {
    let mut trigger = Trigger::new(150 * MS, SECOND, 0, 0).unwrap();
    let (mut total, mut fired) = (0, Vec::new());
    for step in 1..=40 {
        // A fifth of the time is lost in the first two seconds, nothing later.
        total += if step <= 20 { 20 * MS } else { 0 };
        if trigger.update(step * 100 * MS, total) {
            fired.push(step);
        }
    }
    assert_eq!(fired.len(), 2, "{fired:?}");
    assert!(fired[1] - fired[0] >= 10, "{fired:?}");
    assert!(matches!(Trigger::new(0, SECOND, 0, 0), Err(Bad)));
    assert!(matches!(Trigger::new(SECOND + 1, SECOND, 0, 0), Err(Bad)));
    assert!(matches!(Trigger::new(1, SECOND / 2 - 1, 0, 0), Err(Bad)));
    assert!(matches!(Trigger::new(1, 10 * SECOND + 1, 0, 0), Err(Bad)));
}

proptest! {
    #[test]
    fn totals_are_those_of_one_who_looks_every_millisecond(
        steps in prop::collection::vec((0_i32..3, 0_i32..3, 0_i32..3, 1_u64..40), 1..40)
    ) {
        let machine = machine(1);
        let (cpu, psi) = (machine.cpu(), Psi::new());
        let (mut was, mut totals) = ((0, 0, 0), [0, 0]);
        for (running, waiting, making_room, ms) in steps {
            let now = (running + making_room, waiting + making_room, making_room);
            psi.change(cpu, CpuId(0), change(now.0 - was.0, now.1 - was.1, now.2 - was.2));
            was = now;
            for _ in 0..ms {
                cpu.pass(MS);
                totals[0] += u64::from(waiting + making_room > 0);
                totals[1] += u64::from(waiting + making_room > 0 && running == 0);
            }
        }
        let pressure = psi.pressure(cpu).map(|kind| kind.total);
        prop_assert_eq!(pressure, totals.map(|ms| ms * 1000));
    }
}
