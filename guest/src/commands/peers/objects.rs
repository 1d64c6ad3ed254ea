//! Objects: our `kmalloc`, and heaps of other kernels, each on a block of its own.

use super::{Allocator, Subject};
use crate::commands::Outcome;
use crate::commands::support::Block;
use crate::memory::slab;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use mm::addr::{Order, PAGE_SIZE};
use mm::phys::GfpFlags;
use spinning_top::RawSpinlock;
use talc::TalcLock;
use talc::source::Manual;

const BYTES: usize = (Order::MAX.pages() * PAGE_SIZE) as usize;
/// Orders of sizes that the buddy heap keeps apart.
const ORDERS: usize = 32;
const ALIGN: u64 = 16;

/// Runs `compare` on them, ours first.
pub fn with(compare: impl FnOnce(&[&dyn Subject]) -> Outcome) -> Outcome {
    Talc::with(|talc| LinkedList::with(|list| Buddy::with(|buddy| compare(&[&Kmalloc, talc, list, buddy]))))
}

struct Kmalloc;

impl Allocator for Kmalloc {
    const NAME: &'static str = "ballast";

    #[inline(always)]
    fn take(&self, size: u32) -> Option<u64> {
        let object = slab::kmalloc(size as usize, GfpFlags::GFP_KERNEL).ok()?;
        // SAFETY: a new object of at least 16 bytes.
        unsafe { object.cast::<u64>().write(1) };
        Some(object.as_ptr() as u64)
    }

    #[inline(always)]
    unsafe fn give(&self, block: u64, _size: u32) {
        if let Some(object) = NonNull::new(block as *mut u8) {
            // SAFETY: the caller took it.
            unsafe { slab::kfree(object) };
        }
    }
}

/// Bytes and alignment as allocators want them.
#[inline(always)]
pub(super) fn layout_of(bytes: u64, align: u64) -> Option<Layout> {
    Layout::from_size_align(bytes as usize, align as usize).ok()
}

/// Makes an allocator of a heap, and how to make that heap from a block's address.
macro_rules! heap {
    ($name:ident($heap:ty), $text:literal, $empty:expr, |$fresh:ident, $base:ident| $init:expr) => {
        /// A heap on a block of its own.
        pub(super) struct $name($heap);

        impl $name {
            /// Runs `work` on a fresh heap.
            pub(super) fn with(work: impl FnOnce(&Self) -> Outcome) -> Outcome {
                let block = Block::alloc(GfpFlags::GFP_KERNEL, Order::MAX);
                let block = block.map_err(|_| super::no_memory(Self::NAME))?;
                let ($fresh, $base) = ($empty, block.base());
                // SAFETY: the block is mapped, ours, and outlives the heap.
                unsafe { $init };
                work(&Self($fresh))
            }

            /// Takes an object and writes to it, as every user does.
            #[inline(always)]
            pub(super) fn take_layout(&self, layout: Layout) -> Option<u64> {
                // SAFETY: sizes are not 0.
                let object = NonNull::new(unsafe { self.0.alloc(layout) })?;
                // SAFETY: a new object of at least 16 bytes.
                unsafe { object.cast::<u64>().write(1) };
                Some(object.as_ptr() as u64)
            }

            /// Gives one back.
            ///
            /// # Safety
            /// It was taken from this heap with this layout.
            #[inline(always)]
            pub(super) unsafe fn give_layout(&self, object: u64, layout: Layout) {
                // SAFETY: promised by the caller.
                unsafe { self.0.dealloc(object as *mut u8, layout) };
            }
        }

        impl Allocator for $name {
            const NAME: &'static str = $text;

            #[inline(always)]
            fn take(&self, size: u32) -> Option<u64> {
                self.take_layout(layout_of(size.into(), ALIGN)?)
            }

            #[inline(always)]
            unsafe fn give(&self, block: u64, size: u32) {
                if let Some(layout) = layout_of(size.into(), ALIGN) {
                    // SAFETY: the caller took it with this size.
                    unsafe { self.give_layout(block, layout) };
                }
            }
        }
    };
}

heap!(Talc(TalcLock<RawSpinlock, Manual>), "talc", TalcLock::new(Manual), |heap, base| {
    heap.lock().claim(base.as_ptr().cast(), BYTES)
});
heap!(
    LinkedList(linked_list_allocator::LockedHeap),
    "linked_list_allocator",
    linked_list_allocator::LockedHeap::empty(),
    |heap, base| heap.lock().init(base.as_ptr().cast(), BYTES)
);
heap!(
    Buddy(buddy_system_allocator::LockedHeap<ORDERS>),
    "buddy_system_allocator",
    buddy_system_allocator::LockedHeap::empty(),
    |heap, base| heap.lock().init(base.as_ptr() as usize, BYTES)
);
