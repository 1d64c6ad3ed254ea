//! Page allocators.

use std::sync::Arc;

use buddy_system_allocator::LockedFrameAllocator;
use mm::addr::{Order, Pfn};
use mm::phys::GfpFlags;

use crate::machine::Board;
use crate::work::{Allocator, Subject};

/// Frames that the other allocator manages: as many as the simulated machine has.
const FRAMES: usize = 1 << 18;
/// Orders of the other allocator: as ours.
const ORDERS: usize = 11;

/// Ours first.
pub fn subjects(board: &'static Board) -> Vec<Arc<dyn Subject>> {
    let other = LockedFrameAllocator::<ORDERS>::new();
    other.lock().add_frame(0, FRAMES);
    vec![Arc::new(Ballast(board)), Arc::new(BuddySystem(other))]
}

struct Ballast(&'static Board);

impl Allocator for Ballast {
    type Item = Pfn;

    fn name(&self) -> &'static str {
        "ballast"
    }

    #[inline(always)]
    fn take(&self, order: u32) -> Option<Pfn> {
        let order = Order::new(order)?;
        Some(self.0.alloc_pages(GfpFlags::GFP_KERNEL, order).ok()?.into_raw().0)
    }

    #[inline(always)]
    unsafe fn give(&self, pfn: Pfn, order: u32) {
        let order = Order::new(order).unwrap_or(Order::ZERO);
        // SAFETY: the caller took it with this order and gives it back once.
        let frames = unsafe { self.0.frames_from_raw(pfn, order) };
        if let Err(error) = self.0.free_pages(frames) {
            panic!("memory is corrupted: {error}");
        }
    }
}

struct BuddySystem(LockedFrameAllocator<ORDERS>);

impl Allocator for BuddySystem {
    type Item = usize;

    fn name(&self) -> &'static str {
        "buddy_system"
    }

    #[inline(always)]
    fn take(&self, order: u32) -> Option<usize> {
        self.0.lock().alloc(1 << order)
    }

    #[inline(always)]
    unsafe fn give(&self, frame: usize, order: u32) {
        self.0.lock().dealloc(frame, 1 << order);
    }
}
