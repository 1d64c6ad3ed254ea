//! The first Rust code: from the entry stub to [`crate::kernel_main`] with traps in place.
//!
//! Owns: the ring decision after the stub's own (the `ring=` parameter) and the order of the first steps.
//! Source: PVH boot protocol (Xen `docs/misc/pvh.pandoc`); DESIGN §3.

use super::percpu::{self, MAX_CPUS, PerCpu};
use super::{cpu, idt};
use core::arch::global_asm;
use core::mem::size_of;
use core::sync::atomic::{AtomicU32, Ordering};
use shared::layout;

const GDT_BYTES: usize = 64 + MAX_CPUS * 16;
/// Turns of a pass of the probe. Where ring 0 is interpreted each takes 1 to 2 us, and boot waits.
const PROBE_ITERATIONS: u32 = 8;
/// TSC units of a pass above which ring 0 is interpreted: native and TCG take under 1,000, software KVM
/// 25,000 to 45,000.
const PROBE_LIMIT: u32 = 6_000;
/// Bytes of the boot CPU's first stack.
const BOOT_STACK_BYTES: usize = 64 << 10;

const fn table_index(va: u64, level: u32) -> u64 {
    (va >> (12 + 9 * (level - 1))) & 511
}

global_asm!(
    include_str!("boot.s"),
    IMAGE_OFFSET = const layout::IMAGE_OFFSET as i64,
    PROBE_ITERATIONS = const PROBE_ITERATIONS,
    PROBE_PASSES = const 4,
    PROBE_LIMIT = const PROBE_LIMIT,
    GDT_BYTES = const GDT_BYTES,
    DIRECT_MAP_SLOT = const table_index(layout::DIRECT_MAP, 4),
    FIXMAP_PD_SLOT = const table_index(layout::FIXMAP_LAPIC, 2),
    IOAPIC_PT_SLOT = const table_index(layout::FIXMAP_IOAPIC, 1),
    LAPIC_PHYS = const layout::LAPIC,
    IOAPIC_PHYS = const layout::IOAPIC,
    TSS_LIMIT = const percpu::offset::TSS_LIMIT,
    TSS_OFFSET = const percpu::offset::TSS,
    BOOT_STACK_BYTES = const BOOT_STACK_BYTES,
    options(att_syntax)
);

const _: () = {
    // boot.s writes the two fixmap pages as neighbours, the IOAPIC first, at the end of one table.
    assert!(layout::FIXMAP_LAPIC == layout::FIXMAP_IOAPIC + 4096);
    assert!(table_index(layout::FIXMAP_LAPIC, 1) == 509);
    assert!(table_index(layout::FIXMAP_LAPIC, 3) == 511 && table_index(layout::FIXMAP_LAPIC, 4) == 511);
    assert!(size_of::<PerCpu>().is_multiple_of(4096));
};

unsafe extern "C" {
    static boot_stack_bottom: u8;
    static boot_stack_top: u8;
    fn drop_to_ring3();
}

/// What the entry stub learnt.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Physical address of the PVH start info.
    pub start_info: u32,
    /// TSC units of a pass of the probe, the first fast one or the last: far above the limit where ring 0 is interpreted.
    pub probe_tsc: u32,
}

static PROBE_TSC: AtomicU32 = AtomicU32::new(0);

/// Whether this host interprets ring 0: the measure that the entry stub chooses the ring by.
pub fn is_ring0_slow() -> bool {
    probe_tsc() > PROBE_LIMIT
}

/// What [`Entry::probe_tsc`] said.
pub fn probe_tsc() -> u32 {
    PROBE_TSC.load(Ordering::Relaxed)
}

/// Called by `boot.s` on the boot stack, interrupts off, at the ring the stub chose.
#[unsafe(no_mangle)]
extern "C" fn start_rust(start_info: u32, probe_tsc: u32, ring: u32) -> ! {
    cpu::set_ring(ring);
    // SAFETY: this is the boot CPU before its first trap.
    unsafe { PerCpu::init(PerCpu::boot(), 0, 0, idt::upcalls()) };
    // SAFETY: only the addresses of the linker's symbols are used.
    percpu::set_stack((&raw const boot_stack_bottom) as u64, (&raw const boot_stack_top) as u64);
    idt::install(ring);
    PROBE_TSC.store(probe_tsc, Ordering::Relaxed);
    crate::kernel_main(Entry { start_info, probe_tsc })
}

/// Leaves ring 0 for ring 3 (the `ring=3` parameter on a host whose ring 0 is fast).
///
/// Must run before the memory manager builds page tables: their user bits follow the ring.
pub fn enter_ring3() {
    // SAFETY: the boot tables allow CPL3 everywhere, the stack stays, and the IDT is replaced before
    // interrupts are enabled for the first time.
    unsafe { drop_to_ring3() };
    cpu::set_ring(3);
    idt::install(3);
}
