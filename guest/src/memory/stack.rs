//! Kernel stacks: mapped in an area of their own, an unmapped guard page below each.
//!
//! Owns: the area's slots. Invariants: the page below a stack is never mapped, so an overflow faults and is
//! reported instead of running into other memory. Source: Linux `CONFIG_VMAP_STACK`.

use super::count::{NodeCount, node_of};
use super::{PHYS, boot, tables::KernelTables};
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{NodeId, Order, PAGE_SIZE, VirtAddr};
use mm::pgtable::PageRange;
use mm::phys::GfpFlags;
use mm::port::{Level, PteBits};
use shared::layout::{VMALLOC, VMALLOC_SIZE};

/// Pages of a stack.
const PAGES: u64 = 8;
/// A slot: guard and stack, with room to keep slots aligned.
const SLOT_BYTES: u64 = 16 * PAGE_SIZE;
const SLOTS: usize = 256;
/// Where the slots start: the end of the vmalloc area, away from where that allocates first.
const AREA: u64 = VMALLOC + VMALLOC_SIZE - (1 << 30);

static USED: [AtomicU64; SLOTS / 64] = [const { AtomicU64::new(0) }; SLOTS / 64];

static IN_USE: NodeCount = NodeCount::new();

/// Pages of stacks in use (`KernelStack` in meminfo, a part of `VmallocUsed`).
pub fn pages_in_use() -> u64 {
    IN_USE.total()
}

/// The part of [`pages_in_use`] that is on `node`.
pub fn pages_in_use_on(node: NodeId) -> u64 {
    IN_USE.on(node)
}

/// A mapped stack; unmapped and freed when dropped.
pub struct Stack {
    slot: usize,
    order: Order,
}

fn claim_slot() -> Option<usize> {
    for (n, word) in USED.iter().enumerate() {
        let mut bits = word.load(Ordering::Relaxed);
        while bits != u64::MAX {
            let bit = bits.trailing_ones();
            match word.compare_exchange_weak(bits, bits | 1 << bit, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(n * 64 + bit as usize),
                Err(now) => bits = now,
            }
        }
    }
    None
}

fn release_slot(slot: usize) {
    if let Some(word) = USED.get(slot / 64) {
        word.fetch_and(!(1 << (slot % 64)), Ordering::AcqRel);
    }
}

impl Stack {
    /// A stack of 32 KiB; `None` without memory or slots.
    pub fn alloc() -> Option<Self> {
        let order = Order::covering(PAGES)?;
        let slot = claim_slot()?;
        let stack = Self { slot, order };
        let Ok(frames) = PHYS.alloc_pages(GfpFlags::GFP_KERNEL, order) else {
            release_slot(slot);
            core::mem::forget(stack);
            return None;
        };
        let (pfn, _) = frames.into_raw();
        let mapped = stack.range().is_some_and(|range| {
            let bits = PteBits::WRITE | PteBits::NO_EXEC | boot::ring_bits();
            boot::kernel_root().map_range(range, pfn.addr(), Level::PTE, bits, &KernelTables).is_ok()
        });
        if !mapped {
            super::free_block(pfn, order);
            release_slot(slot);
            core::mem::forget(stack);
            return None;
        }
        IN_USE.add(node_of(pfn), PAGES);
        Some(stack)
    }

    fn range(&self) -> Option<PageRange> {
        PageRange::new(VirtAddr::new(self.bottom())?, PAGES)
    }

    /// Its lowest byte.
    pub fn bottom(&self) -> u64 {
        AREA + self.slot as u64 * SLOT_BYTES + (SLOT_BYTES - PAGES * PAGE_SIZE)
    }

    /// The first byte after it.
    pub fn top(&self) -> u64 {
        self.bottom() + PAGES * PAGE_SIZE
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let Some(range) = self.range() else { return };
        let root = boot::kernel_root();
        let frame = VirtAddr::new(self.bottom()).and_then(|va| root.translate(va));
        let mut gather = root.gather(&KernelTables);
        let unmapped = root.unmap(range, &mut gather, |_, _, _| {});
        let _flushed = gather.finish();
        // A range that could not be unmapped keeps its frames: a leak is better than a use after free.
        if let (Ok(()), Some(frame)) = (unmapped, frame) {
            IN_USE.remove(node_of(frame.pfn()), PAGES);
            super::free_block(frame.pfn(), self.order);
            release_slot(self.slot);
        }
    }
}
