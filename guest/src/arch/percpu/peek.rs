//! Looking at what another CPU has counted.

use super::{Counter, LINES, PerCpu};

/// One counter of the CPU with this area.
pub fn counter_of(area: *const PerCpu, counter: Counter) -> u64 {
    // SAFETY: areas come from [`crate::arch::smp::area`], which hands out initialised ones only; an aligned 64-bit
    // load cannot tear.
    unsafe { (&raw const (*area).counters).cast::<u64>().add(counter as usize).read_volatile() }
}

/// Interrupts of `line` that the CPU with this area has handled.
pub fn interrupts_of(area: *const PerCpu, line: usize) -> u64 {
    // SAFETY: as for `counter_of`; the masked index is in range.
    unsafe { (&raw const (*area).interrupts).cast::<u64>().add(line % LINES).read_volatile() }
}

/// Non-maskable interrupts that the CPU with this area has seen.
pub fn nmis_of(area: *const PerCpu) -> u32 {
    // SAFETY: as for `counter_of`.
    unsafe { (&raw const (*area).nmi_count).read_volatile() }
}

/// The APIC id of the CPU with this area.
pub fn apic_id_of(area: *const PerCpu) -> u32 {
    // SAFETY: as for `counter_of`.
    unsafe { (*area).apic_id }
}
