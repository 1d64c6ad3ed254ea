//! One probed event: every register before, the event, every register after.

use crate::arch::cpu;
use core::arch::global_asm;
use core::mem::offset_of;

global_asm!(include_str!("probe.s"), options(att_syntax));

unsafe extern "C" {
    fn stress_probe(context: *mut Context);
}

/// What happens between the two looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Interrupts may come while the CPU counts down.
    Spin {
        /// Turns.
        turns: u64,
    },
    /// A store to this address, which faults.
    Fault {
        /// The address.
        address: u64,
    },
    /// A call of the gate (ring 3 only).
    Gate,
}

/// Registers before and after, as `probe.s` lays them out.
#[repr(C, align(64))]
pub struct Context {
    general: [u64; 16],
    general_after: [u64; 16],
    vector: [u64; 64],
    vector_after: [u64; 64],
    red_zone_after: [u64; 15],
    rsp: u64,
    turns: u64,
    kind: u64,
    wide: u64,
    flags_after: u64,
    red_zone: u64,
}

const _: () = {
    assert!(offset_of!(Context, red_zone_after) == 1280 && offset_of!(Context, rsp) == 1400);
    assert!(offset_of!(Context, kind) == 1416 && offset_of!(Context, red_zone) == 1440);
};

const CARRY: u64 = 1;
const DIRECTION: u64 = 1 << 10;

impl Context {
    /// A context; `wide` checks 256-bit vector registers too.
    pub const fn new(wide: bool) -> Self {
        Self {
            general: [0; 16],
            general_after: [0; 16],
            vector: [0; 64],
            vector_after: [0; 64],
            red_zone_after: [0; 15],
            rsp: 0,
            turns: 0,
            kind: 0,
            wide: wide as u64,
            flags_after: 0,
            red_zone: 0,
        }
    }

    /// Runs one event with registers drawn from `random`; returns how many registers came out wrong.
    pub fn run(&mut self, event: Event, random: &mut impl FnMut() -> u64) -> u32 {
        for word in self.general.iter_mut().chain(&mut self.vector) {
            *word = random();
        }
        self.red_zone = random();
        match event {
            Event::Spin { turns } => {
                self.kind = 0;
                self.turns = turns.max(1);
            }
            Event::Fault { address } => {
                self.kind = 1;
                self.general[13] = address; // %r14
            }
            Event::Gate => {
                self.kind = 2;
                self.general[0] = cpu::gate_nop_address();
            }
        }
        // SAFETY: the context is laid out as the assembly expects; a faulting address is one that the
        // running fault handler repairs.
        unsafe { stress_probe(self) };
        self.wrong()
    }

    fn wrong(&self) -> u32 {
        // 14 general registers, then the stack pointer.
        let mut wrong = self.general[..14].iter().zip(&self.general_after).filter(|(a, b)| a != b).count();
        wrong += usize::from(self.general_after[14] != self.rsp);
        wrong += usize::from(self.flags_after & CARRY == 0 || self.flags_after & DIRECTION != 0);
        wrong += self.red_zone_after.iter().filter(|&&word| word != self.red_zone).count();
        for (n, (before, after)) in self.vector.iter().zip(&self.vector_after).enumerate() {
            wrong += usize::from((self.wide != 0 || n % 4 < 2) && before != after);
        }
        wrong as u32
    }
}

/// Ruins every 128-bit register, as compiled handlers may: what was in them must come back all the same.
pub fn clobber_vectors() {
    // SAFETY: the registers are declared as clobbered.
    unsafe {
        core::arch::asm!(
            "pcmpeqd xmm0, xmm0", "pcmpeqd xmm1, xmm1", "pcmpeqd xmm2, xmm2", "pcmpeqd xmm3, xmm3",
            "pcmpeqd xmm4, xmm4", "pcmpeqd xmm5, xmm5", "pcmpeqd xmm6, xmm6", "pcmpeqd xmm7, xmm7",
            "pcmpeqd xmm8, xmm8", "pcmpeqd xmm9, xmm9", "pcmpeqd xmm10, xmm10", "pcmpeqd xmm11, xmm11",
            "pcmpeqd xmm12, xmm12", "pcmpeqd xmm13, xmm13", "pcmpeqd xmm14, xmm14", "pcmpeqd xmm15, xmm15",
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nomem, nostack, preserves_flags)
        );
    }
}
