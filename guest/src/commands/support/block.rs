//! An owned block of frames in the direct map: its words, and marks that show whether somebody wrote to it.
//!
//! Invariants: a block is freed exactly once, when it is dropped; packing moves the ownership into a number.

use crate::machine::MACHINE;
use crate::memory::{self, PHYS};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{NodeId, Order, PAGE_SIZE, Pfn};
use mm::phys::{AllocError, Frames, GfpFlags};
use mm::port::{Machine, PhysMem};
use shared::layout::DIRECT_MAP;

/// Words in a frame.
pub const FRAME_WORDS: usize = PAGE_SIZE as usize / 8;
/// Bits of a packed block that hold its order.
const ORDER_BITS: u32 = 4;

/// See the module documentation.
pub struct Block {
    pfn: Pfn,
    order: Order,
}

/// A frame does not hold what it was marked with.
pub struct Damage {
    /// The frame.
    pub pfn: Pfn,
    /// What was there.
    pub found: u64,
    /// What should be.
    pub expected: u64,
}

/// The first and the last word of frame `n` of a block marked with `tag`.
fn marks(tag: u64, n: u64) -> [(usize, u64); 2] {
    let mark = (tag ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    [(0, mark), (FRAME_WORDS - 1, !mark)]
}

impl Block {
    /// A block near this CPU.
    pub fn alloc(gfp: GfpFlags, order: Order) -> Result<Self, AllocError> {
        Self::alloc_near(None, gfp, order)
    }

    /// A block near `node`, or near this CPU without one.
    pub fn alloc_near(node: Option<NodeId>, gfp: GfpFlags, order: Order) -> Result<Self, AllocError> {
        let near = |gfp| match node {
            Some(node) => PHYS.alloc_pages_node(node, gfp, order),
            None => PHYS.alloc_pages(gfp, order),
        };
        let block = Self::adopt(near(gfp)?);
        // Its words are looked at, so it must have an address.
        match MACHINE.physmem().ptr(block.pfn.addr()) {
            Some(_) => Ok(block),
            None => near(gfp.difference(GfpFlags::__GFP_HIGHMEM)).map(Self::adopt),
        }
    }

    /// The block of a handle.
    pub fn adopt(frames: Frames<'static>) -> Self {
        let (pfn, order) = frames.into_raw();
        Self { pfn, order }
    }

    /// Its first frame.
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Its order.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Frame `n` of it; counting goes round at its end.
    pub fn frame(&self, n: u64) -> Pfn {
        self.pfn.checked_add(n & (self.order.pages() - 1)).unwrap_or(self.pfn)
    }

    /// Where it starts in the direct map.
    pub fn base(&self) -> NonNull<u64> {
        // Every zone lies in the direct map, which does not start at 0.
        NonNull::new((DIRECT_MAP + self.pfn.addr().get()) as *mut u64).unwrap_or(NonNull::dangling())
    }

    /// Word `index` of it; counting goes round at its end.
    pub fn word(&self, index: usize) -> &AtomicU64 {
        let words = FRAME_WORDS << self.order.get();
        // SAFETY: the masked index is inside the block, which is ours and mapped; frames commands hold are
        // only accessed as atomic words.
        unsafe { AtomicU64::from_ptr(self.base().as_ptr().add(index & (words - 1))) }
    }

    /// Writes `tag` into every frame.
    pub fn mark(&self, tag: u64) {
        for n in 0..self.order.pages() {
            for (index, mark) in marks(tag, n) {
                self.word(n as usize * FRAME_WORDS + index).store(mark, Ordering::Relaxed);
            }
        }
    }

    /// The first frame that is not as [`Block::mark`] left it.
    pub fn damage(&self, tag: u64) -> Option<Damage> {
        (0..self.order.pages()).find_map(|n| {
            marks(tag, n).into_iter().find_map(|(index, expected)| {
                let found = self.word(n as usize * FRAME_WORDS + index).load(Ordering::Relaxed);
                (found != expected).then(|| Damage { pfn: self.frame(n), found, expected })
            })
        })
    }

    /// The block as a number that is not 0. Who has the number owns the block.
    pub fn pack(self) -> u64 {
        let block = ManuallyDrop::new(self);
        block.pfn.get() << ORDER_BITS | u64::from(block.order.get())
    }

    /// The block of a number; `None` for 0.
    ///
    /// # Safety
    /// `number` is 0 or came from [`Block::pack`], and is used once.
    pub unsafe fn unpack(number: u64) -> Option<Self> {
        if number == 0 {
            return None;
        }
        let order = Order::new((number & ((1 << ORDER_BITS) - 1)) as u32)?;
        Some(Self { pfn: Pfn::new(number >> ORDER_BITS)?, order })
    }

    /// The block that starts at `pfn`.
    ///
    /// # Safety
    /// The caller owns an allocated block of this order there, and nobody else will free it.
    pub unsafe fn from_parts(pfn: Pfn, order: Order) -> Self {
        Self { pfn, order }
    }

    /// Gives up the block: whoever keeps the numbers owns it.
    pub fn into_parts(self) -> (Pfn, Order) {
        let block = ManuallyDrop::new(self);
        (block.pfn, block.order)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        memory::free_block(self.pfn, self.order);
    }
}
