//! The one machine of the guest: real x86-64 behind the ports of `mm`.
//!
//! Owns: the wiring only. All parts are zero-sized, so a port call is a direct call.

use crate::arch::{call, cpu, irq, paging, percpu, time, tlb};
use crate::memory::highmem;
use crate::{report, task};
use core::arch::asm;
use core::ptr::NonNull;
use mm::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use mm::pgtable::X86_64;
use mm::port::{self, CpuId, Level, Machine, TaskFlags};
use shared::layout::DIRECT_MAP;

/// The running CPU.
pub static CPU: Cpu = Cpu;
/// The machine.
pub static MACHINE: Kernel = Kernel;

/// See the module documentation.
pub struct Kernel;

impl Machine for Kernel {
    type Mmu = Mmu;
    type PhysMem = DirectMap;
    type Tlb = Tlbs;
    type Cpu = Cpu;

    fn mmu(&self) -> &Mmu {
        &Mmu
    }
    fn physmem(&self) -> &DirectMap {
        &DirectMap
    }
    fn tlb(&self) -> &Tlbs {
        &Tlbs
    }
    fn cpu(&self) -> &Cpu {
        &CPU
    }
}

/// The CPU port: per-CPU data and soft masking.
pub struct Cpu;

impl port::Cpu for Cpu {
    #[inline]
    fn id(&self) -> CpuId {
        CpuId(percpu::cpu())
    }
    #[inline]
    fn irq_disable(&self) {
        irq::disable();
    }
    #[inline(always)]
    fn irq_try_disable(&self) -> bool {
        irq::try_disable()
    }
    #[inline]
    fn irq_enable(&self) {
        irq::enable();
    }
    #[inline]
    fn can_wait(&self) -> bool {
        !percpu::is_masked()
    }
    fn call_on(&self, cpu: CpuId, work: &(dyn Fn() + Sync)) {
        call::on(cpu.0, work);
    }
    fn wait_on(&self, key: u64, done: &mut dyn FnMut() -> bool) {
        task::wait_on(key, done);
    }
    fn wake(&self, key: u64) {
        task::wake(key);
    }
    fn wait_for(&self, ns: u64) {
        task::sleep(ns);
    }
    fn wait_on_for(&self, key: u64, ns: u64, done: &mut dyn FnMut() -> bool) {
        task::wait_on_for(key, ns, done);
    }
    fn give_way(&self) {
        task::give_way_if_wanted();
    }
    fn set_stalled(&self, is_stalled: bool) -> bool {
        task::pressure::set_stalled(is_stalled)
    }
    fn now(&self) -> u64 {
        time::since_boot_ns()
    }
    #[inline]
    fn task_flags(&self) -> TaskFlags {
        task::flags()
    }
    fn set_task_flags(&self, flags: TaskFlags) {
        task::set_flags(flags);
    }
    #[inline]
    fn relax(&self) {
        // The holder of the lock may be waiting for this CPU to flush.
        tlb::service();
        core::hint::spin_loop();
    }
}

/// The MMU port.
pub struct Mmu;

impl port::Mmu for Mmu {
    type Pte = X86_64;

    fn root_level(&self) -> Level {
        Level::P4D
    }
    fn max_leaf(&self) -> Level {
        if paging::has_1g_pages() { Level::PUD } else { Level::PMD }
    }
    unsafe fn activate(&self, root: PhysAddr) {
        // SAFETY: by the caller.
        unsafe { cpu::write_cr3(root) }
    }
    fn active_root(&self) -> PhysAddr {
        cpu::read_cr3()
    }
}

/// Writes zeroes to `pages` pages.
///
/// # Safety
/// They are mapped in a row from `at` on, and the caller owns them.
#[inline]
unsafe fn fill_with_zeroes(at: *mut u8, pages: u64) {
    // SAFETY: promised by the caller.
    unsafe {
        asm!("rep stosq", inout("rcx") pages * PAGE_SIZE / 8 => _, inout("rdi") at => _, in("rax") 0,
            options(nostack, preserves_flags));
    }
}

/// Where this CPU sees a frame until it unmaps it. Who asks for a zeroed page must get one, so no window is the end.
fn window(pfn: Pfn) -> NonNull<u8> {
    match highmem::kmap_local_page(pfn) {
        Ok(page) => page,
        Err(error) => report::corruption(format_args!("{error}")),
    }
}

/// Zeroes frames that the direct map does not show all of.
///
/// # Safety
/// The caller owns them.
#[cold]
unsafe fn zero_high(first: Pfn, pages: u64) {
    for n in 0..pages {
        let Some(pfn) = first.checked_add(n) else { return };
        let page = window(pfn);
        // SAFETY: the caller owns the frame, all of which is seen at the window.
        unsafe { fill_with_zeroes(page.as_ptr(), 1) };
        highmem::kunmap_local(page);
    }
}

const CACHE_LINE: usize = 64;
/// Lines that are brought at once: with fewer the CPU's own prefetcher sees too late that a page is read from its beginning.
const PREFETCH_LINES: usize = 4;

/// The direct map.
pub struct DirectMap;

impl port::PhysMem for DirectMap {
    #[inline]
    fn ptr(&self, addr: PhysAddr) -> Option<NonNull<u8>> {
        if addr.get() >= paging::direct_map_end() {
            return None;
        }
        // SAFETY: the direct map ends in the upper half, so nothing in it is at 0.
        Some(unsafe { NonNull::new_unchecked((DIRECT_MAP + addr.get()) as *mut u8) })
    }

    #[inline]
    fn addr_of(&self, ptr: NonNull<u8>) -> Option<PhysAddr> {
        PhysAddr::new((ptr.as_ptr() as u64).wrapping_sub(DIRECT_MAP))
    }

    #[inline(always)]
    fn prefetch(&self, ptr: NonNull<u8>) {
        for line in 0..PREFETCH_LINES {
            let at = ptr.as_ptr().wrapping_add(line * CACHE_LINE);
            // SAFETY: it changes nothing and does not fault.
            unsafe { asm!("prefetcht0 [{}]", in(reg) at, options(nostack, preserves_flags, readonly)) };
        }
    }

    #[inline]
    unsafe fn zero(&self, pfn: Pfn) {
        // SAFETY: promised by the caller.
        unsafe { self.zero_block(pfn, 1) };
    }

    #[inline(always)]
    unsafe fn zero_block(&self, first: Pfn, pages: u64) {
        let end = first.addr().get() + pages * PAGE_SIZE;
        if end <= paging::direct_map_end() {
            // SAFETY: the caller owns the frames, and the direct map shows all of them in a row.
            unsafe { fill_with_zeroes((DIRECT_MAP + first.addr().get()) as *mut u8, pages) };
            return;
        }
        // SAFETY: promised by the caller.
        unsafe { zero_high(first, pages) };
    }

    unsafe fn copy(&self, from: Pfn, to: Pfn) {
        let (to, from) = (window(to), window(from));
        // SAFETY: the caller owns `to`, nobody writes `from`, and they are different frames.
        unsafe {
            asm!("rep movsq", inout("rcx") PAGE_SIZE / 8 => _, inout("rdi") to.as_ptr() => _,
                inout("rsi") from.as_ptr() => _, options(nostack, preserves_flags));
        }
        highmem::kunmap_local(from);
        highmem::kunmap_local(to);
    }
}

/// The TLB port: this CPU's instructions and messages to the others.
pub struct Tlbs;

impl port::Tlb for Tlbs {
    fn flush_range(&self, start: VirtAddr, pages: u64) {
        tlb::flush_range(start, pages);
    }
    fn flush_range_on(&self, cpus: u64, start: VirtAddr, pages: u64) {
        tlb::flush_range_on(cpus, start, pages);
    }
    fn flush_all(&self) {
        tlb::flush_all();
    }
    fn flush_local(&self, va: VirtAddr) {
        cpu::invlpg(va);
    }
}
