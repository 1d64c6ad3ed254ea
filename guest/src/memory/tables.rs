//! Where the frames of page tables come from: an arena at boot, the buddy afterwards.

use super::count::{NodeCount, node_of};
use super::slab::FRAMES;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{NodeId, Order, PAGE_SIZE, Pfn, PhysAddr};
use mm::pgtable::TableFrames;
use mm::phys::{FrameAllocator, GfpFlags};

/// Frames from one range, in order. Nothing comes back before boot is over.
pub struct BootTables {
    next: AtomicU64,
    end: u64,
}

impl BootTables {
    /// The frames of `size` bytes at `start`, which nobody else uses.
    pub fn new(start: PhysAddr, size: u64) -> Self {
        Self { next: AtomicU64::new(start.get()), end: start.get() + size }
    }

    /// The first address that has not been given out.
    pub fn rest(&self) -> PhysAddr {
        PhysAddr::truncate(self.next.load(Ordering::Relaxed).min(self.end))
    }
}

// SAFETY: the range is this source's alone and in the direct map; each frame is given out once.
unsafe impl TableFrames for BootTables {
    fn alloc_table(&self) -> Option<Pfn> {
        let at = self.next.fetch_add(PAGE_SIZE, Ordering::Relaxed);
        (at + PAGE_SIZE <= self.end).then(|| PhysAddr::truncate(at).pfn())
    }

    unsafe fn free_table(&self, _pfn: Pfn) {}
}

static IN_USE: NodeCount = NodeCount::new();
/// Those of [`IN_USE`] that boot built, of memory that no zone has.
static OF_BOOT: AtomicU64 = AtomicU64::new(0);

/// Table frames taken since boot and not given back, and those of boot (`PageTables` in meminfo).
pub fn in_use() -> u64 {
    IN_USE.total()
}

/// The part of [`in_use`] that zones have given.
pub fn from_zones() -> u64 {
    in_use().saturating_sub(OF_BOOT.load(Ordering::Relaxed))
}

/// The part of [`in_use`] that is on `node`.
pub fn in_use_on(node: NodeId) -> u64 {
    IN_USE.on(node)
}

/// Counts the tables that boot built on `node`.
pub fn count_boot_tables(node: NodeId, tables: u64) {
    IN_USE.add(node, tables);
    OF_BOOT.fetch_add(tables, Ordering::Relaxed);
}

/// Frames from the buddy.
pub struct KernelTables;

// SAFETY: the buddy gives a block to one owner; GFP_KERNEL frames are in the direct map.
unsafe impl TableFrames for KernelTables {
    fn alloc_table(&self) -> Option<Pfn> {
        let (pfn, _) = FRAMES.alloc(GfpFlags::GFP_KERNEL, Order::ZERO).ok()?.into_raw();
        IN_USE.add(node_of(pfn), 1);
        Some(pfn)
    }

    unsafe fn free_table(&self, pfn: Pfn) {
        IN_USE.remove(node_of(pfn), 1);
        super::free_block(pfn, Order::ZERO);
    }
}
