//! Page allocators: ours, and the buddy heap of `buddy_system_allocator` on one of the largest blocks.

use super::objects::{Buddy, layout_of};
use super::{Allocator, Subject};
use crate::commands::Outcome;
use crate::memory::{PHYS, free_block};
use mm::addr::{Order, PAGE_SIZE, Pfn};
use mm::phys::GfpFlags;

/// Runs `compare` on them, ours first.
pub fn with(compare: impl FnOnce(&[&dyn Subject]) -> Outcome) -> Outcome {
    Buddy::with(|heap| compare(&[&Ballast, &BuddySystem(heap)]))
}

struct Ballast;

impl Allocator for Ballast {
    const NAME: &'static str = "ballast";

    #[inline(always)]
    fn take(&self, order: u32) -> Option<u64> {
        let frames = PHYS.alloc_pages(GfpFlags::GFP_KERNEL, Order::new(order)?).ok()?;
        Some(frames.into_raw().0.get())
    }

    #[inline(always)]
    unsafe fn give(&self, block: u64, order: u32) {
        if let (Some(pfn), Some(order)) = (Pfn::new(block), Order::new(order)) {
            free_block(pfn, order);
        }
    }
}

struct BuddySystem<'a>(&'a Buddy);

/// A block is aligned to its size, as ours are.
fn bytes(order: u32) -> u64 {
    PAGE_SIZE << order
}

impl Allocator for BuddySystem<'_> {
    const NAME: &'static str = "buddy_system_allocator";

    #[inline(always)]
    fn take(&self, order: u32) -> Option<u64> {
        self.0.take_layout(layout_of(bytes(order), bytes(order))?)
    }

    #[inline(always)]
    unsafe fn give(&self, block: u64, order: u32) {
        if let Some(layout) = layout_of(bytes(order), bytes(order)) {
            // SAFETY: the caller took it with this order.
            unsafe { self.0.give_layout(block, layout) };
        }
    }
}
