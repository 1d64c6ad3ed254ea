//! Starting the other CPUs: INIT, SIPI, and their first Rust function.
//!
//! Owns: the trampoline page and the hand-over words that `boot.s` reads. CPUs start one after the other.
//! Source: Intel SDM vol. 3 §9.4; DESIGN §4.

use super::percpu::{self, MAX_CPUS, PerCpu};
use super::{cpu, idt, lapic, time};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use shared::layout::{AP_TRAMPOLINE, DIRECT_MAP};

unsafe extern "C" {
    static ap_trampoline: u8;
    static ap_trampoline_end: u8;
    static mut boot_gdt: u64;
    static mut ap_boot_tr: u32;
    static mut ap_boot_ring: u32;
    static mut ap_boot_percpu: u64;
    static mut ap_boot_stack: u64;
    static mut ap_boot_root: u64;
}

const FIRST_TSS_SELECTOR: u32 = 0x40;
/// As long as Linux waits: the host may have other things to do.
const SIPI_TIMEOUT_NS: u64 = 10_000_000_000;

static ONLINE: AtomicU32 = AtomicU32::new(1);
static AREAS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
static ENTRY: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// The memory of a CPU that is to start: it stays the CPU's for good.
pub struct Resources {
    /// Its area, all zeroes or [`PerCpu::new`].
    pub area: *mut PerCpu,
    /// Lowest byte of its stack.
    pub stack_bottom: u64,
    /// End of its stack, 16-byte aligned.
    pub stack_top: u64,
}

/// A CPU did not come up.
#[derive(Debug)]
pub struct Silent {
    /// Its APIC id.
    pub apic_id: u32,
}

/// CPUs that run.
pub fn online() -> u32 {
    ONLINE.load(Ordering::Acquire)
}

/// The area of a running CPU.
pub fn area(cpu: u32) -> Option<*mut PerCpu> {
    if cpu == 0 {
        return Some(PerCpu::boot());
    }
    let area = AREAS.get(cpu as usize)?.load(Ordering::Acquire);
    (!area.is_null()).then_some(area)
}

/// Puts the trampoline where SIPI can reach it and names the function other CPUs run.
///
/// # Safety
/// The trampoline page is RAM that nothing else uses, and the direct map and identity map show it.
pub unsafe fn prepare(entry: fn() -> !) {
    ENTRY.store(entry as *mut (), Ordering::Release);
    // SAFETY: the linker's symbols bound the code; the page is ours by the caller.
    unsafe {
        let (start, end) = (&raw const ap_trampoline, &raw const ap_trampoline_end);
        let target = (DIRECT_MAP + AP_TRAMPOLINE) as *mut u8;
        core::ptr::copy_nonoverlapping(start, target, end as usize - start as usize);
        ap_boot_ring = cpu::ring();
    }
}

/// Starts the CPU with `apic_id` as number `cpu` and waits until it runs.
///
/// # Safety
/// [`prepare`] has run; `resources` are this CPU's alone and the running root maps them; the boot page tables still map what
/// they did.
pub unsafe fn start(apic_id: u32, cpu: u32, resources: &Resources) -> Result<(), Silent> {
    let silent = Silent { apic_id };
    let Some(slot) = AREAS.get(cpu as usize) else { return Err(silent) };
    // SAFETY: the area is a stopped CPU's; only this CPU starts others, one at a time, so the hand-over
    // words and the GDT entry are nobody else's.
    unsafe {
        PerCpu::init(resources.area, cpu, apic_id, idt::upcalls());
        (*resources.area).set_stack_bounds(resources.stack_bottom, resources.stack_top);
        let tss = resources.area as u64 + percpu::offset::TSS as u64;
        let low = percpu::offset::TSS_LIMIT as u64
            | (tss & 0xff_ffff) << 16
            | 0x89 << 40
            | (tss >> 24 & 0xff) << 56;
        let entry = (&raw mut boot_gdt).add(8 + 2 * cpu as usize);
        entry.write_volatile(low);
        entry.add(1).write_volatile(tss >> 32);
        ap_boot_tr = FIRST_TSS_SELECTOR + 16 * cpu;
        ap_boot_percpu = resources.area as u64;
        ap_boot_stack = resources.stack_top;
        ap_boot_root = cpu::read_cr3().get();
    }
    slot.store(resources.area, Ordering::Release);
    let before = online();
    lapic::send_init(apic_id);
    lapic::send_startup(apic_id, (AP_TRAMPOLINE >> 12) as u32);
    let (start, limit) = (cpu::rdtsc(), time::ns_to_tsc(SIPI_TIMEOUT_NS));
    while online() == before {
        if cpu::rdtsc().wrapping_sub(start) > limit {
            // It shall not come later, when nobody counts on it.
            lapic::send_init(apic_id);
            return Err(silent);
        }
        core::hint::spin_loop();
    }
    Ok(())
}

/// Called by `boot.s` on a started CPU, interrupts off, soft mask up.
#[unsafe(no_mangle)]
extern "C" fn start_ap() -> ! {
    lapic::enable();
    cpu::enable_interrupts();
    ONLINE.fetch_add(1, Ordering::AcqRel);
    let raw = ENTRY.load(Ordering::Acquire);
    if raw.is_null() {
        cpu::stop();
    }
    super::irq::enable();
    // SAFETY: `prepare` stored a `fn() -> !` before any CPU was started.
    let entry = unsafe { core::mem::transmute::<*mut (), fn() -> !>(raw) };
    entry()
}
