//! What the paging hardware can do, how far the direct map goes, and mappings of device registers.
//!
//! Owns: the area of device registers. Stays outside: building the kernel's tables ([`crate::memory::boot`]),
//! walking and changing them (`mm::pgtable`). Invariants: at ring 3 every leaf has the user bit.

use super::cpu;
use crate::memory::boot;
use crate::memory::tables::KernelTables;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm::addr::{PAGE_SIZE, PhysAddr, VirtAddr, align_down};
use mm::pgtable::PageRange;
use mm::port::{Level, PteBits};
use shared::layout::{VMALLOC, VMALLOC_SIZE};

static DIRECT_END: AtomicU64 = AtomicU64::new(BOOT_DIRECT_END);
static GIGANTIC: AtomicBool = AtomicBool::new(false);

/// The boot tables map this much.
pub const BOOT_DIRECT_END: u64 = 1 << 30;

/// First physical address that the direct map does not show.
#[inline]
pub fn direct_map_end() -> u64 {
    DIRECT_END.load(Ordering::Relaxed)
}

/// Whether the CPU has leaves of 1 GiB.
pub fn has_1g_pages() -> bool {
    GIGANTIC.load(Ordering::Relaxed)
}

/// Reads what the CPU can do.
pub fn detect() {
    let [max, ..] = cpu::cpuid(0x8000_0000, 0);
    if max >= 0x8000_0001 {
        let [.., edx] = cpu::cpuid(0x8000_0001, 0);
        GIGANTIC.store(edx & (1 << 26) != 0, Ordering::Relaxed);
    }
}

/// Widens the direct map, once the kernel's tables are in use.
pub fn set_direct_map_end(end: u64) {
    DIRECT_END.store(end, Ordering::Relaxed);
}

/// Where device registers are mapped: the last GiB of the vmalloc area but one.
const REGISTERS: u64 = VMALLOC + VMALLOC_SIZE - (2 << 30);
const REGISTERS_BYTES: u64 = 1 << 30;
static NEXT_REGISTERS: AtomicU64 = AtomicU64::new(0);

/// Maps device registers, uncached, for good. `None` without memory for tables or room in the area.
pub fn ioremap(addr: PhysAddr, bytes: u64) -> Option<NonNull<u8>> {
    let first = align_down(addr.get(), PAGE_SIZE);
    let pages = (addr.page_offset() + bytes).div_ceil(PAGE_SIZE);
    let offset = NEXT_REGISTERS.fetch_add(pages * PAGE_SIZE, Ordering::Relaxed);
    if pages == 0 || offset + pages * PAGE_SIZE > REGISTERS_BYTES {
        return None;
    }
    let va = VirtAddr::new(REGISTERS + offset)?;
    let bits =
        PteBits::WRITE | PteBits::NO_EXEC | PteBits::NO_CACHE | PteBits::WRITE_THROUGH | boot::ring_bits();
    let range = PageRange::new(va, pages)?;
    boot::kernel_root().map_range(range, PhysAddr::new(first)?, Level::PTE, bits, &KernelTables).ok()?;
    NonNull::new((va.get() + addr.page_offset()) as *mut u8)
}
