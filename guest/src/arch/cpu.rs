//! The privileged operations, by ring: an instruction at CPL0, a call of the gate at CPL3.
//!
//! Owns: the ring in use. Stays outside: who may call what when. Costs on software KVM (ring 3): 7 to 11 us
//! a gate call; batch.

use super::percpu::{self, Counter};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering};
use mm::addr::{PhysAddr, VirtAddr};

global_asm!(include_str!("gate.s"), PENDING = const percpu::offset::PENDING, options(att_syntax));

unsafe extern "C" {
    fn gate_invlpg();
    fn gate_write_cr3();
    fn gate_read_cr3();
    fn gate_read_cr4();
    fn gate_read_msr();
    fn gate_cpuid();
    fn gate_halt();
    fn gate_enable_interrupts();
    fn gate_nop();
}

static RING: AtomicU32 = AtomicU32::new(0);

pub(super) fn set_ring(ring: u32) {
    RING.store(ring, Ordering::Relaxed);
}

/// The ring that Rust runs in: 0 or 3.
#[inline]
pub fn ring() -> u32 {
    RING.load(Ordering::Relaxed)
}

/// Calls a gate operation; returns what it left in `%rdi` and `%rsi`.
///
/// # Safety
/// The operation with these arguments must be sound to execute at CPL0 here.
unsafe fn gate(operation: unsafe extern "C" fn(), a: u64, b: u64) -> (u64, u64) {
    let (mut first, mut second) = (a, b);
    percpu::count(Counter::Gates);
    // SAFETY: the gate preserves everything but the listed registers; not `nostack`, so the call does not
    // hit the red zone.
    unsafe {
        asm!("call gate", inout("rax") operation as *const () as u64 => _, inout("rdi") first,
            inout("rsi") second, out("rcx") _, out("rdx") _, out("r8") _);
    }
    (core::mem::take(&mut first), core::mem::take(&mut second))
}

/// A mark for whoever counts instructions from outside: a long no-op that nothing else contains (see `ci/counter`).
#[inline(always)]
pub fn mark() {
    // SAFETY: `nopl 0x4d41524b(%rax,%rax,1)` does nothing.
    unsafe {
        asm!(".byte 0x0f, 0x1f, 0x84, 0x00, 0x4b, 0x52, 0x41, 0x4d", options(nostack, preserves_flags));
    }
}

/// Drops this CPU's translations of one page.
pub fn invlpg(va: VirtAddr) {
    // SAFETY: dropping a cached translation changes nothing that the tables say.
    unsafe {
        if ring() == 0 {
            asm!("invlpg [{}]", in(reg) va.get(), options(nostack, preserves_flags));
        } else {
            gate(gate_invlpg, va.get(), 0);
        }
    }
}

/// Loads the page-table root; drops this CPU's non-global translations.
///
/// # Safety
/// `root` maps the running code, its stack, the per-CPU area and the tables themselves as they are now.
pub unsafe fn write_cr3(root: PhysAddr) {
    // SAFETY: by the caller.
    unsafe {
        if ring() == 0 {
            asm!("mov cr3, {}", in(reg) root.get(), options(nostack, preserves_flags));
        } else {
            gate(gate_write_cr3, root.get(), 0);
        }
    }
}

/// The page-table root in use.
pub fn read_cr3() -> PhysAddr {
    // SAFETY: reading CR3 has no effect.
    let raw = unsafe {
        if ring() == 0 {
            let value: u64;
            asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags));
            value
        } else {
            gate(gate_read_cr3, 0, 0).0
        }
    };
    PhysAddr::truncate(raw & !0xfff)
}

/// CR4 as it is.
pub fn read_cr4() -> u64 {
    // SAFETY: reading CR4 has no effect.
    unsafe {
        if ring() == 0 {
            let value: u64;
            asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags));
            value
        } else {
            gate(gate_read_cr4, 0, 0).0
        }
    }
}

/// Reads a model-specific register that exists on every CPU we run on.
pub fn read_msr(msr: u32) -> u64 {
    // SAFETY: callers name architectural registers only; reading them has no effect.
    let (low, high) = unsafe {
        if ring() == 0 {
            let (low, high): (u32, u32);
            asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high,
                options(nomem, nostack, preserves_flags));
            (u64::from(low), u64::from(high))
        } else {
            gate(gate_read_msr, u64::from(msr), 0)
        }
    };
    (low & 0xffff_ffff) | high << 32
}

/// One CPUID leaf of the virtual CPU: eax, ebx, ecx, edx. At CPL3 the plain instruction would show the
/// host's CPU on software KVM.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    if ring() == 0 {
        let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
        [r.eax, r.ebx, r.ecx, r.edx]
    } else {
        // SAFETY: CPUID has no effect but its results.
        let (ab, cd) = unsafe { gate(gate_cpuid, u64::from(leaf), u64::from(subleaf)) };
        [ab as u32, (ab >> 32) as u32, cd as u32, (cd >> 32) as u32]
    }
}

/// Sleeps until an interrupt, unless one is recorded already. The caller holds the soft mask.
pub fn halt() {
    // SAFETY: the interrupt that ends the sleep only records itself, because the mask is up.
    unsafe {
        if ring() == 0 {
            asm!("cli", "cmp dword ptr gs:[{pending}], 0", "jne 2f", "sti", "hlt", "2:", "sti",
                pending = const percpu::offset::PENDING, options(nostack));
        } else {
            gate(gate_halt, 0, 0);
        }
    }
}

/// Turns the CPU's interrupt flag on, once, when traps and handlers stand.
pub fn enable_interrupts() {
    // SAFETY: the IDT and this CPU's area are in place; what comes obeys the soft mask.
    unsafe {
        if ring() == 0 {
            asm!("sti", options(nostack));
        } else {
            gate(gate_enable_interrupts, 0, 0);
        }
    }
}

/// A gate round trip that does nothing, for measuring; nothing at ring 0.
pub fn gate_round_trip() {
    if ring() != 0 {
        // SAFETY: the operation is a bare return.
        unsafe { gate(gate_nop, 0, 0) };
    }
}

/// The operation of [`gate_round_trip`], for code that calls the gate itself.
pub fn gate_nop_address() -> u64 {
    gate_nop as *const () as u64
}

/// The time-stamp counter.
#[inline]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading the counter has no effect.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Stops this CPU for good.
pub fn stop() -> ! {
    disable_for_good();
    loop {
        halt();
    }
}

fn disable_for_good() {
    percpu::mask();
    let _ = percpu::take_pending();
}
