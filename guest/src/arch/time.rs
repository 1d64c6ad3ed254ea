//! Time: the TSC, its rate, and short delays.
//!
//! The rates come from the hypervisor's timing leaf if there is one (our monitor gives it), else the TSC is
//! measured against the APIC timer, whose bus runs at 1 GHz on KVM and QEMU.
//! Source: VMware "Mechanisms to determine if software is running in a VM" (leaf 0x40000010).

use super::{cpu, lapic};
use core::sync::atomic::{AtomicU64, Ordering};

const TIMING_LEAF: u32 = 0x4000_0010;
const HYPERVISOR_LEAF: u32 = 0x4000_0000;
const DEFAULT_BUS_KHZ: u64 = 1_000_000;

static TSC_KHZ: AtomicU64 = AtomicU64::new(1_000_000);
static BUS_KHZ: AtomicU64 = AtomicU64::new(DEFAULT_BUS_KHZ);

/// Nanoseconds in a unit of the TSC, times 2^[`SHIFT`]: a division of 128 bits costs more than all that is timed.
static NS_PER_TSC: AtomicU64 = AtomicU64::new(1 << SHIFT);
const SHIFT: u32 = 32;

static BOOT_TSC: AtomicU64 = AtomicU64::new(0);

/// The first Rust code runs.
pub fn mark_boot() {
    BOOT_TSC.store(cpu::rdtsc(), Ordering::Relaxed);
}

/// Nanoseconds since [`mark_boot`].
pub fn since_boot_ns() -> u64 {
    tsc_to_ns(cpu::rdtsc().wrapping_sub(BOOT_TSC.load(Ordering::Relaxed)))
}

/// Finds the rates. The boot CPU's APIC is on.
pub fn init() {
    let [max_leaf, ..] = cpu::cpuid(HYPERVISOR_LEAF, 0);
    if (TIMING_LEAF..TIMING_LEAF + 0x100).contains(&max_leaf) {
        let [tsc, bus, ..] = cpu::cpuid(TIMING_LEAF, 0);
        if tsc != 0 && bus != 0 {
            set_tsc_khz(u64::from(tsc));
            BUS_KHZ.store(u64::from(bus), Ordering::Relaxed);
            return;
        }
    }
    set_tsc_khz(measure().max(1));
}

fn set_tsc_khz(khz: u64) {
    TSC_KHZ.store(khz, Ordering::Relaxed);
    NS_PER_TSC.store((1_000_000 << SHIFT) / khz, Ordering::Relaxed);
}

fn measure() -> u64 {
    const TICKS: u32 = 500_000; // 0.5 ms
    lapic::start_silent_timer(u32::MAX);
    let (start, from) = (cpu::rdtsc(), lapic::timer_left());
    loop {
        let passed = from.wrapping_sub(lapic::timer_left());
        if passed >= TICKS {
            let tsc = cpu::rdtsc().wrapping_sub(start);
            lapic::enable();
            return tsc.saturating_mul(DEFAULT_BUS_KHZ) / u64::from(passed);
        }
    }
}

/// TSC units a millisecond.
pub fn tsc_khz() -> u64 {
    TSC_KHZ.load(Ordering::Relaxed)
}

/// Nanoseconds in `tsc` units.
pub fn tsc_to_ns(tsc: u64) -> u64 {
    ((u128::from(tsc) * u128::from(NS_PER_TSC.load(Ordering::Relaxed))) >> SHIFT) as u64
}

/// TSC units in `ns` nanoseconds.
pub fn ns_to_tsc(ns: u64) -> u64 {
    (u128::from(ns) * u128::from(tsc_khz()) / 1_000_000) as u64
}

/// Interrupts this CPU once, `ns` nanoseconds from now.
pub fn arm_timer(ns: u64) {
    let ticks = (u128::from(ns) * u128::from(BUS_KHZ.load(Ordering::Relaxed)) / 1_000_000).max(1);
    lapic::arm_timer(u32::try_from(ticks).unwrap_or(u32::MAX));
}

/// Spins for `ns` nanoseconds.
pub fn delay(ns: u64) {
    let (start, length) = (cpu::rdtsc(), ns_to_tsc(ns));
    while cpu::rdtsc().wrapping_sub(start) < length {
        core::hint::spin_loop();
    }
}
