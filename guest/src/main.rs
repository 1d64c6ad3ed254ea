//! The Ballast kernel.
#![no_std]
#![no_main]

mod arch;
mod report;
mod serial;
mod stress;

use arch::boot::Entry;
use arch::{cpu, irq, lapic, smp, time, percpu};

static mut AREA: [percpu::PerCpu; 3] = [const { percpu::PerCpu::new() }; 3];
#[repr(C, align(4096))]
struct St([u8; 65536]);
static mut STACKS: [St; 3] = [const { St([0; 65536]) }; 3];

/// Boot order, top to bottom.
fn kernel_main(entry: Entry) -> ! {
    serial::write_fmt(format_args!("ballast: {entry:x?} ring={}\n", cpu::ring()));
    #[cfg(feature = "r3")]
    if cpu::ring() == 0 { arch::boot::enter_ring3(); }
    lapic::enable();
    time::init();
    cpu::enable_interrupts();
    irq::enable();
    serial::write_fmt(format_args!("tsc_khz={} apic={}\n", time::tsc_khz(), lapic::id()));
    let t = cpu::rdtsc();
    for _ in 0..1000 { cpu::gate_round_trip(); }
    serial::write_fmt(format_args!("gate ns={}\n", time::tsc_to_ns(cpu::rdtsc()-t)/1000));
    unsafe {
        smp::prepare(stress::ap_main);
        for i in 0..1usize {
            let b = (&raw mut STACKS[i]) as u64;
            let t = cpu::rdtsc();
            let r = smp::start(i as u32 + 1, i as u32 + 1, &smp::Resources { area: &raw mut AREA[i], stack_bottom: b, stack_top: b + 65536 });
            serial::write_fmt(format_args!("ap {i} {r:?} ns={}\n", time::tsc_to_ns(cpu::rdtsc()-t)));
        }
    }
    let ok = stress::run(3);
    report::exit(if ok {shared::exit::ExitStatus::Ok} else {shared::exit::ExitStatus::CheckFailed})
}
