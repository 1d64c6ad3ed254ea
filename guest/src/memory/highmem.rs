//! Frames outside the direct map, and the windows through which they are reached, by their Linux names.
//!
//! Owns: the windows and who waits for a page of the pool. Stays outside: which frames those are (the zones).

use super::boot::{self, kernel_root};
use super::tables::KernelTables;
use crate::machine::{Kernel, MACHINE};
use crate::report;
use crate::task::WaitQueue;
use core::ptr::NonNull;
use mm::addr::{Pfn, VirtAddr};
use mm::kmap::{Kmap, KmapError, PAGES};
use mm::pgtable::{PageRange, PtError, Why};
use mm::port::{Machine, PhysMem, PteBits};
use shared::layout::{KMAP, KMAP_SIZE};

/// The windows.
pub static WINDOWS: Kmap<'static, Kernel> = Kmap::new(&MACHINE);

/// Who waits for a page of the pool.
static ROOM: WaitQueue = WaitQueue::new();

const _: () = assert!(PAGES * mm::addr::PAGE_SIZE <= KMAP_SIZE);

/// Makes the windows, when tables can be allocated.
pub fn boot() -> Result<(), PtError> {
    let start = VirtAddr::truncate(KMAP);
    let range = PageRange::new(start, PAGES).ok_or(PtError { at: start, why: Why::Invalid })?;
    let bits = PteBits::WRITE | PteBits::NO_EXEC | boot::ring_bits();
    // SAFETY: the area is nobody else's.
    unsafe { WINDOWS.boot(kernel_root(), range, bits, &KernelTables) }
}

/// A frame as this CPU sees it until [`kunmap_local`]: its place in the direct map, or a page of the local window.
///
/// The caller unmaps in reverse order and does not wait before it has.
pub fn kmap_local_page(pfn: Pfn) -> Result<NonNull<u8>, KmapError> {
    match MACHINE.physmem().ptr(pfn.addr()) {
        Some(page) => Ok(page),
        None => pointer(WINDOWS.map_local(pfn)?),
    }
}

/// Ends a [`kmap_local_page`].
pub fn kunmap_local(page: NonNull<u8>) {
    let at = address(page);
    if is_window(at)
        && let Err(error) = WINDOWS.unmap_local(at)
    {
        report::corruption(format_args!("{error}"));
    }
}

/// A frame as everybody sees it until [`kunmap_high`], through the pool, wherever the frame is (Linux `kmap_high`); waits for
/// a page of the pool if all are in use.
pub fn kmap_high(pfn: Pfn) -> Result<NonNull<u8>, KmapError> {
    let mut result = Err(KmapError::PoolFull);
    ROOM.wait_until(|| {
        result = WINDOWS.map(pfn);
        result != Err(KmapError::PoolFull)
    });
    pointer(result?)
}

/// Ends a [`kmap_high`].
pub fn kunmap_high(page: NonNull<u8>) {
    let at = address(page);
    match WINDOWS.unmap(at) {
        Ok(true) => ROOM.wake_all(),
        Ok(false) => {}
        Err(error) => report::corruption(format_args!("{error}")),
    }
}

fn is_window(at: VirtAddr) -> bool {
    at.get().wrapping_sub(KMAP) < KMAP_SIZE
}

fn address(page: NonNull<u8>) -> VirtAddr {
    VirtAddr::truncate(page.as_ptr() as u64)
}

fn pointer(at: VirtAddr) -> Result<NonNull<u8>, KmapError> {
    NonNull::new(at.get() as *mut u8).ok_or(KmapError::NotMapped(at))
}
