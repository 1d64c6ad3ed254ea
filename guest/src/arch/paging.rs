//! What the paging hardware can do, and how far the direct map goes.
//!
//! Stays outside: building the kernel's tables ([`crate::memory::boot`]), walking and changing them
//! (`mm::pgtable`).

use super::cpu;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
