//! The free lists of one zone or arena, and how many blocks are on them.
//!
//! Owns: order x migrate type lists, the bit masks that find a list without searching, and the counters. Stays
//! outside: states of blocks and the lock. Invariants: bit `o` of a type's mask is set exactly when its list of
//! order `o` is not empty; `nr_free` is the sum of all counts weighted by size. The counters are apart from the
//! lists so that statistics read them without the lock. Source: Linux `struct free_area`.

use crate::addr::Order;
use crate::frame::{FrameIdx, FrameList, FrameTable, MigrateType};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const _: () = assert!(Order::COUNT <= 16, "a mask has one bit per order");

/// The lists. Exclusive access is access under the lock.
#[repr(C)]
pub(super) struct FreeLists {
    nonempty: [u16; MigrateType::COUNT],
    lists: [[FrameList; Order::COUNT]; MigrateType::COUNT],
}

impl FreeLists {
    /// Nothing is free.
    pub(super) const EMPTY: Self = Self {
        nonempty: [0; MigrateType::COUNT],
        lists: [const { [const { FrameList::EMPTY }; Order::COUNT] }; MigrateType::COUNT],
    };

    /// One bit per order whose list of type `mt` is not empty.
    #[inline(always)]
    pub(super) fn orders(&self, mt: MigrateType) -> u32 {
        // SAFETY: `index` is below `MigrateType::COUNT`, the length of the array.
        u32::from(*unsafe { self.nonempty.get_unchecked(mt.index()) })
    }

    #[inline(always)]
    fn orders_mut(&mut self, mt: MigrateType) -> &mut u16 {
        // SAFETY: `index` is below `MigrateType::COUNT`, the length of the array.
        unsafe { self.nonempty.get_unchecked_mut(mt.index()) }
    }

    /// The list of one order and type.
    #[inline(always)]
    pub(super) fn list(&self, order: Order, mt: MigrateType) -> &FrameList {
        // SAFETY: both indexes are below the lengths by the invariants of their types.
        unsafe { self.lists.get_unchecked(mt.index()).get_unchecked(order.index()) }
    }

    #[inline(always)]
    fn list_mut(&mut self, order: Order, mt: MigrateType) -> &mut FrameList {
        // SAFETY: both indexes are below the lengths by the invariants of their types.
        unsafe { self.lists.get_unchecked_mut(mt.index()).get_unchecked_mut(order.index()) }
    }

    /// The smallest order from `order` on that has a block of type `mt`.
    #[inline(always)]
    pub(super) fn smallest(&self, order: Order, mt: MigrateType) -> Option<Order> {
        Order::new((self.orders(mt) >> order.get() << order.get()).trailing_zeros())
    }

    /// Links a block in front.
    #[inline(always)]
    pub(super) fn push_front(&mut self, table: &FrameTable, idx: FrameIdx, order: Order, mt: MigrateType) {
        self.list_mut(order, mt).push_front(table, idx);
        *self.orders_mut(mt) |= 1 << order.get();
    }

    /// Links a block at the end.
    #[inline(always)]
    pub(super) fn push_back(&mut self, table: &FrameTable, idx: FrameIdx, order: Order, mt: MigrateType) {
        self.list_mut(order, mt).push_back(table, idx);
        *self.orders_mut(mt) |= 1 << order.get();
    }

    /// Unlinks a block that is on this list.
    #[inline(always)]
    pub(super) fn remove(&mut self, table: &FrameTable, idx: FrameIdx, order: Order, mt: MigrateType) {
        let list = self.list_mut(order, mt);
        list.remove(table, idx);
        if list.is_empty() {
            *self.orders_mut(mt) &= !(1 << order.get());
        }
    }
}

/// The counters of [`FreeLists`]. Written under the lock, read by anybody.
#[repr(C)]
pub(super) struct FreeCounts {
    pages: AtomicU64,
    locks: AtomicU64,
    blocks: [[AtomicU32; Order::COUNT]; MigrateType::COUNT],
}

impl FreeCounts {
    /// Nothing is free.
    pub(super) const fn new() -> Self {
        Self {
            pages: AtomicU64::new(0),
            locks: AtomicU64::new(0),
            blocks: [const { [const { AtomicU32::new(0) }; Order::COUNT] }; MigrateType::COUNT],
        }
    }

    /// Free pages.
    #[inline(always)]
    pub(super) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Notes that the lock was taken, by who has it.
    #[inline(always)]
    pub(super) fn count_lock(&self) {
        self.locks.store(self.locks().wrapping_add(1), Ordering::Relaxed);
    }

    /// How often the lock was taken.
    pub(super) fn locks(&self) -> u64 {
        self.locks.load(Ordering::Relaxed)
    }

    /// Free blocks of one order and type.
    #[inline(always)]
    pub(super) fn blocks(&self, order: Order, mt: MigrateType) -> u32 {
        self.counter(order, mt).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn counter(&self, order: Order, mt: MigrateType) -> &AtomicU32 {
        // SAFETY: both indexes are below the lengths by the invariants of their types.
        unsafe { self.blocks.get_unchecked(mt.index()).get_unchecked(order.index()) }
    }

    /// Counts `n` more blocks, but not their pages.
    #[inline(always)]
    pub(super) fn add_blocks(&self, order: Order, mt: MigrateType, n: u32) {
        let counter = self.counter(order, mt);
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Counts one block less, but not its pages.
    #[inline(always)]
    pub(super) fn sub_block(&self, order: Order, mt: MigrateType) {
        self.add_blocks(order, mt, u32::MAX);
    }

    /// Counts `n` pages that are free now.
    #[inline(always)]
    pub(super) fn give_pages(&self, n: u64) {
        self.pages.store(self.pages().wrapping_add(n), Ordering::Relaxed);
    }

    /// Counts `n` pages that are no longer free.
    #[inline(always)]
    pub(super) fn take_pages(&self, n: u64) {
        self.give_pages(n.wrapping_neg());
    }
}
