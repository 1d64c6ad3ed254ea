//! Memory as virtio devices see it: physical addresses of the direct map and of the image.
//!
//! Owns: the glue between `virtio-drivers` and the frame allocator. There is no IOMMU and no bounce buffer.

use crate::memory;
use core::ptr::NonNull;
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

/// See the module documentation.
pub struct Dma;

// SAFETY: `dma_alloc` gives zeroed, page-aligned frames that are nobody else's until they are freed; memory of
// the direct map and the image is shared with devices as it is.
unsafe impl Hal for Dma {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match memory::dma_alloc(pages) {
            Some((addr, pointer)) => (addr.get(), pointer),
            // The crate's sign of failure; frame 0 is never given out.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, _vaddr: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: by the caller.
        unsafe { memory::dma_free(mm::addr::PhysAddr::truncate(paddr), pages) };
        0
    }

    unsafe fn mmio_phys_to_virt(_paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        // Only the PCI transport asks, and this machine has no PCI.
        NonNull::dangling()
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        // Drivers share only what they got by physical address. An address that no RAM has makes the device
        // refuse what would otherwise be a write to a wrong place.
        memory::phys_of(buffer.cast()).map_or(u64::MAX, mm::addr::PhysAddr::get)
    }

    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}
