//! The local APIC, by its memory window (xAPIC): messages between CPUs and the one-shot timer.
//!
//! Owns: the registers of the running CPU's APIC, but for end-of-interrupt, which the entry stubs write.
//! The window costs 3 us an access on software KVM, x2APIC registers by the gate 13; and CPUs with only an
//! xAPIC must run us too. Timers are one-shot: on software KVM a periodic one nests without bound after a
//! pause of the host. Source: Intel SDM vol. 3 ch. 11.

use super::idt::{FIRST_INTERRUPT, SPURIOUS};
use super::irq::line;
use shared::layout::FIXMAP_LAPIC;

const ID: u64 = 0x20;
const SPURIOUS_VECTOR: u64 = 0xf0;
const COMMAND_LOW: u64 = 0x300;
const COMMAND_HIGH: u64 = 0x310;
const TIMER_VECTOR: u64 = 0x320;
const LINT0_VECTOR: u64 = 0x350;
const TIMER_INITIAL: u64 = 0x380;
const TIMER_CURRENT: u64 = 0x390;
const TIMER_DIVIDE: u64 = 0x3e0;

const DIVIDE_BY_1: u32 = 0b1011;
const MASKED: u32 = 1 << 16;
const DELIVERY_PENDING: u32 = 1 << 12;
const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600;

fn read(register: u64) -> u32 {
    // SAFETY: the fixmap page shows this CPU's APIC and nothing else, from the first instruction on.
    unsafe { ((FIXMAP_LAPIC + register) as *const u32).read_volatile() }
}

fn write(register: u64, value: u32) {
    // SAFETY: as for `read`; the registers written here do not touch memory.
    unsafe { ((FIXMAP_LAPIC + register) as *mut u32).write_volatile(value) }
}

/// This CPU's APIC id.
pub fn id() -> u32 {
    read(ID) >> 24
}

/// Turns this CPU's APIC on, its timer idle.
///
/// The legacy interrupt controller, which reset wires to LINT0 of the boot CPU with vectors that are those of
/// exceptions, is cut off: devices arrive through the I/O APIC only.
pub fn enable() {
    write(LINT0_VECTOR, MASKED);
    write(SPURIOUS_VECTOR, 1 << 8 | u32::from(SPURIOUS));
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    write(TIMER_VECTOR, u32::from(FIRST_INTERRUPT) + line::TIMER as u32);
}

/// Arms the timer to interrupt once after `ticks` of the APIC's bus clock; 0 stops it.
pub fn arm_timer(ticks: u32) {
    write(TIMER_INITIAL, ticks);
}

/// Lets the timer count down unheard, for measuring.
pub fn start_silent_timer(ticks: u32) {
    write(TIMER_VECTOR, MASKED | u32::from(FIRST_INTERRUPT));
    write(TIMER_INITIAL, ticks);
}

/// What is left of the timer's count.
pub fn timer_left() -> u32 {
    read(TIMER_CURRENT)
}

fn command(apic_id: u32, low: u32) {
    // Interrupt handlers send messages too: the two halves must not be torn apart.
    super::irq::disable();
    write(COMMAND_HIGH, apic_id << 24);
    write(COMMAND_LOW, low);
    while read(COMMAND_LOW) & DELIVERY_PENDING != 0 {
        core::hint::spin_loop();
    }
    super::irq::enable();
}

/// Interrupts another CPU, or this one, on `line`.
pub fn send_ipi(apic_id: u32, line: usize) {
    command(apic_id, 1 << 14 | (u32::from(FIRST_INTERRUPT) + line as u32));
}

/// Resets a CPU.
pub fn send_init(apic_id: u32) {
    command(apic_id, INIT);
}

/// Starts a CPU in real mode at `page` * 4096.
pub fn send_startup(apic_id: u32, page: u32) {
    command(apic_id, STARTUP | page);
}
