//! The memory of this machine: the guest's side of `mm`.
//!
//! Owns: the one [`Phys`], boot of it, and small helpers for drivers and tasks. Stays outside: all policy
//! (`mm`), instructions (`arch`).
//!
//! | file | job |
//! |---|---|
//! | `map` | firmware's map and parameters to memblock |
//! | `checks` | poison, zeroing, failures on purpose |
//! | `boot` | kernel page tables, frame descriptors, zones |
//! | `count` | frames in use by node |
//! | `tables` | where table frames come from |
//! | `slab` | the slab allocator, and its settings |
//! | `vm` | the memory of contexts, and its settings |
//! | `shrinkers` | who gives memory back when asked |
//! | `zones` | the borders of zones |
//! | `areas` | vmalloc, vmap and ioremap |
//! | `highmem` | windows on frames outside the direct map |
//! | `hugetlb` | pools of huge pages |
//! | `stack` | kernel stacks with guard pages |

pub mod areas;
pub mod boot;
pub mod checks;
pub mod count;
pub mod flusher;
pub mod highmem;
pub mod hugetlb;
pub mod kswapd;
mod map;
pub mod shrinkers;
pub mod slab;
pub mod stack;
pub mod swap;
pub mod tables;
pub mod vm;
mod zones;

use crate::arch::percpu::MAX_CPUS;
use crate::arch::{cpu, time};
use crate::machine::{Kernel, MACHINE};
use crate::settings;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{Order, PAGE_SIZE, Pfn, PhysAddr};
use mm::phys::{FrameAllocator, GfpFlags, Phys};
use mm::port::{Machine, PhysMem};
use shared::layout::{DIRECT_MAP, IMAGE_OFFSET};

/// The physical memory of the machine.
pub static PHYS: Phys<Kernel> = Phys::new(Kernel);

/// When each CPU looks at its lists next, in ticks of the TSC.
static NEXT_LOOK: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// What a CPU does for memory before it sleeps: once in `vm.stat_interval` it shortens its lists of pages.
pub fn before_idle(cpu: usize) {
    let Some(next) = NEXT_LOOK.get(cpu) else { return };
    let now = cpu::rdtsc();
    if now < next.load(Ordering::Relaxed) {
        return;
    }
    let seconds = settings::number(settings::STAT_INTERVAL).unwrap_or(1);
    next.store(now.saturating_add(time::ns_to_tsc(seconds.saturating_mul(1_000_000_000))), Ordering::Relaxed);
    PHYS.decay_local_pages();
}

/// Contiguous zeroed frames for a device, below 4 GiB: physical address and mapping. `None` without memory.
pub fn dma_alloc(pages: usize) -> Option<(PhysAddr, NonNull<u8>)> {
    let order = Order::covering(pages as u64)?;
    // Worth some work, but nobody goes for a block that nothing may have.
    let gfp = GfpFlags::GFP_KERNEL | GfpFlags::GFP_DMA32 | GfpFlags::__GFP_ZERO;
    let (pfn, _) = slab::FRAMES.alloc(gfp | GfpFlags::__GFP_RETRY_MAYFAIL, order).ok()?.into_raw();
    Some((pfn.addr(), MACHINE.physmem().ptr(pfn.addr())?))
}

/// Gives back what [`dma_alloc`] gave.
///
/// # Safety
/// `addr` and `pages` are those of one `dma_alloc`, and no device uses the frames any more.
pub unsafe fn dma_free(addr: PhysAddr, pages: usize) {
    let Some(order) = Order::covering(pages as u64) else { return };
    free_block(addr.pfn(), order);
}

/// Frees a block by its number; a block that was not allocated like that is a corruption.
pub fn free_block(pfn: Pfn, order: Order) {
    // SAFETY: whoever kept the numbers owns the block; a wrong one is refused below.
    if let Err(error) = PHYS.free_pages(unsafe { PHYS.frames_from_raw(pfn, order) }) {
        crate::report::corruption(format_args!("{error}"));
    }
}

/// The physical address of memory in the direct map or the image; `None` for any other pointer.
pub fn phys_of(pointer: NonNull<u8>) -> Option<PhysAddr> {
    let va = pointer.as_ptr() as u64;
    if va >= IMAGE_OFFSET {
        return (va < boot::image_end()).then(|| PhysAddr::truncate(va - IMAGE_OFFSET));
    }
    let offset = va.checked_sub(DIRECT_MAP)?;
    (offset < crate::arch::paging::direct_map_end()).then(|| PhysAddr::truncate(offset))
}

/// Bytes of `pages` base pages.
pub const fn bytes(pages: u64) -> u64 {
    pages * PAGE_SIZE
}
