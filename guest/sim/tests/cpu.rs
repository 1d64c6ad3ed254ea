//! CPUs: who plays whom, and interrupt masks.

use mm::port::{Cpu, CpuId, Machine as _};
use sim::Machine;

fn machine(cpus: u32) -> Machine {
    Machine::builder().ram(0..0x1000).cpus(cpus).build()
}

#[test]
fn a_thread_plays_the_cpu_it_asked_for() {
    let (a, b) = (machine(4), machine(2));
    assert_eq!(a.cpu().id(), CpuId(0));
    a.cpu().run_on(CpuId(3), || {
        b.cpu().run_on(CpuId(1), || assert_eq!((a.cpu().id(), b.cpu().id()), (CpuId(3), CpuId(1))));
        assert_eq!((a.cpu().id(), b.cpu().id()), (CpuId(3), CpuId(0)));
        std::thread::scope(|s| {
            s.spawn(|| assert_eq!(a.cpu().id(), CpuId(0)));
        });
    });
    assert_eq!(a.cpu().id(), CpuId(0));
}

#[test]
fn a_cpu_is_given_back_after_a_panic() {
    let m = machine(2);
    let work = std::panic::AssertUnwindSafe(|| m.cpu().run_on(CpuId(1), || panic!("of the work")));
    assert!(std::panic::catch_unwind(work).is_err());
    assert_eq!(m.cpu().id(), CpuId(0));
    assert_eq!(m.cpu().run_on(CpuId(1), || m.cpu().id()), CpuId(1));
}

#[test]
#[should_panic(expected = "already played")]
fn two_threads_cannot_play_one_cpu() {
    let m = machine(2);
    m.cpu().run_on(CpuId(1), || m.cpu().run_on(CpuId(1), || ()));
}

#[test]
fn irq_masks_nest_per_cpu() {
    let m = machine(2);
    let outer = m.cpu().irq_guard();
    let inner = m.cpu().irq_guard();
    assert_eq!((m.cpu().irq_depth(CpuId(0)), m.cpu().irq_depth(CpuId(1))), (2, 0));
    drop(inner);
    drop(outer);
    assert_eq!(m.cpu().irq_depth(CpuId(0)), 0);
}

#[test]
#[should_panic(expected = "not masked")]
fn unmasking_on_another_cpu_is_caught() {
    let m = machine(2);
    m.cpu().irq_disable();
    m.cpu().run_on(CpuId(1), || m.cpu().irq_enable());
}
