//! The direct map: physical memory as pointers.

use crate::addr::{Pfn, PhysAddr};
use core::ptr::NonNull;

/// Access to physical memory. Hands out pointers, never addresses and never `&mut [u8]`, so that provenance
/// survives and a frame that the MMU or a device writes is never behind a Rust reference.
pub trait PhysMem {
    /// Where the byte at `addr` is mapped; `None` if it is not RAM in the direct map.
    fn ptr(&self, addr: PhysAddr) -> Option<NonNull<u8>>;

    /// The physical address of a byte of the direct map: undoes [`PhysMem::ptr`]. For any other pointer `None`, or an
    /// address where no RAM is.
    fn addr_of(&self, ptr: NonNull<u8>) -> Option<PhysAddr>;

    /// The bytes behind `ptr` will be read soon: the CPU may begin to bring them.
    #[inline(always)]
    fn prefetch(&self, _ptr: NonNull<u8>) {}

    /// Fills a frame with zeroes.
    ///
    /// # Safety
    /// The caller owns the frame: nobody else reads or writes it during the call.
    unsafe fn zero(&self, pfn: Pfn);

    /// Fills `pages` frames in a row with zeroes.
    ///
    /// # Safety
    /// As for [`PhysMem::zero`], of each of them.
    #[inline]
    unsafe fn zero_block(&self, first: Pfn, pages: u64) {
        for n in 0..pages {
            if let Some(pfn) = first.checked_add(n) {
                // SAFETY: promised by the caller.
                unsafe { self.zero(pfn) };
            }
        }
    }

    /// Copies one frame to another.
    ///
    /// # Safety
    /// The caller owns `to`; nobody writes `from` during the call; they differ.
    unsafe fn copy(&self, from: Pfn, to: Pfn);
}
