//! The interrupt descriptor table: one for all CPUs, built once for the ring in use.
//!
//! Every gate is an interrupt gate to a CPL0 stub of `trap.s`. The stacks differ by ring: see
//! [`super::percpu::ist`]. Source: Intel SDM vol. 3 ch. 6.

use super::percpu::{Upcalls, ist, offset};
use core::arch::global_asm;
use shared::layout;

/// First vector of the 32 that devices, timer and other CPUs use.
pub const FIRST_INTERRUPT: u8 = 32;
/// The local APIC's spurious vector.
pub const SPURIOUS: u8 = 0xff;

const EOI_REGISTER: u64 = 0xb0;

global_asm!(
    include_str!("trap.s"),
    SOFT = const offset::SOFT,
    PENDING = const offset::PENDING,
    STACK_LO = const offset::STACK_LO,
    STACK_HI = const offset::STACK_HI,
    EMERGENCY_TOP = const offset::EMERGENCY_TOP,
    NMI_COUNT = const offset::NMI_COUNT,
    TSS_IST_IRQ = const offset::TSS_IST_IRQ,
    EXC = const offset::EXC,
    IRQ = const offset::IRQ,
    DOUBLE_FAULT = const offset::DOUBLE_FAULT,
    MACHINE_CHECK = const offset::MACHINE_CHECK,
    SLOT_BYTES = const offset::SLOT_BYTES,
    SLOT_UPCALL = const offset::SLOT_UPCALL,
    SLOT_UPCALL_PF = const offset::SLOT_UPCALL_PF,
    SLOT_VECTOR = const offset::SLOT_VECTOR,
    SLOT_CR2 = const offset::SLOT_CR2,
    SLOT_RAX = const offset::SLOT_RAX,
    SLOT_ERROR = const offset::SLOT_ERROR,
    SLOT_FRAME = const offset::SLOT_FRAME,
    LAPIC_EOI = const (layout::FIXMAP_LAPIC + EOI_REGISTER) as i64,
    TF_BYTES = const super::trap::offset::BYTES,
    TF_R15 = const super::trap::offset::R15,
    TF_R14 = const super::trap::offset::R14,
    TF_R13 = const super::trap::offset::R13,
    TF_R12 = const super::trap::offset::R12,
    TF_RBP = const super::trap::offset::RBP,
    TF_RBX = const super::trap::offset::RBX,
    TF_R11 = const super::trap::offset::R11,
    TF_R10 = const super::trap::offset::R10,
    TF_R9 = const super::trap::offset::R9,
    TF_R8 = const super::trap::offset::R8,
    TF_RDI = const super::trap::offset::RDI,
    TF_RSI = const super::trap::offset::RSI,
    TF_RDX = const super::trap::offset::RDX,
    TF_RCX = const super::trap::offset::RCX,
    TF_RAX = const super::trap::offset::RAX,
    TF_VECTOR = const super::trap::offset::VECTOR,
    TF_ERROR = const super::trap::offset::ERROR,
    TF_CR2 = const super::trap::offset::CR2,
    TF_BAD_STACK = const super::trap::offset::BAD_STACK,
    TF_RIP = const super::trap::offset::RIP,
    options(att_syntax)
);

unsafe extern "C" {
    static exception_stubs_r0: [u64; 32];
    static exception_stubs_r3: [u64; 32];
    static interrupt_stubs_r0: [u64; 32];
    static interrupt_stubs_r3: [u64; 32];
    static spurious_stub: u64;
    static upcall_table: Upcalls;
    static mut boot_idt: [Gate; 256];
}

/// A 64-bit gate descriptor.
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate(u64, u64);

impl Gate {
    const INTERRUPT: u64 = 0x8e;
    const CPL0_CODE: u64 = 0x10;

    fn new(target: u64, ist: u8, dpl: u64) -> Self {
        let low = (target & 0xffff)
            | (Self::CPL0_CODE << 16)
            | (u64::from(ist) << 32)
            | ((Self::INTERRUPT | (dpl << 5)) << 40)
            | ((target >> 16 & 0xffff) << 48);
        Self(low, target >> 32)
    }
}

/// Where ring 3's stubs return to.
pub fn upcalls() -> &'static Upcalls {
    // SAFETY: an immutable table in .rodata.
    unsafe { &upcall_table }
}

/// Empties the table: the next trap shuts the CPU down (a triple fault).
pub fn destroy() {
    for vector in 0..256 {
        // SAFETY: an absent gate is a valid one; the table has 256.
        unsafe { (&raw mut boot_idt).cast::<Gate>().add(vector).write_volatile(Gate(0, 0)) };
    }
}

/// Fills the table for `ring`. Interrupts are off; the descriptor was loaded by the entry stub.
pub fn install(ring: u32) {
    // SAFETY: immutable tables in .rodata.
    let (exceptions, interrupts, spurious) = unsafe {
        if ring == 0 {
            (&exception_stubs_r0, &interrupt_stubs_r0, spurious_stub)
        } else {
            (&exception_stubs_r3, &interrupt_stubs_r3, spurious_stub)
        }
    };
    let set = |vector: usize, gate: Gate| {
        // SAFETY: only the boot CPU runs; vector is below 256 in the calls below.
        unsafe { (&raw mut boot_idt).cast::<Gate>().add(vector & 0xff).write_volatile(gate) }
    };
    for (vector, &target) in exceptions.iter().enumerate() {
        let stack = match vector {
            2 => ist::NMI,
            8 => ist::DOUBLE_FAULT,
            18 => ist::MACHINE_CHECK,
            _ if ring == 0 => ist::EXCEPTION,
            _ => 0,
        };
        // CPL3 code raises int3 (the gate) and into by instruction; all other vectors by fault only.
        let dpl = if vector == 3 || vector == 4 { 3 } else { 0 };
        set(vector, Gate::new(target, stack, dpl));
    }
    for (n, &target) in interrupts.iter().enumerate() {
        set(FIRST_INTERRUPT as usize + n, Gate::new(target, ist::INTERRUPT, 0));
    }
    set(SPURIOUS as usize, Gate::new(spurious, ist::INTERRUPT, 0));
}
