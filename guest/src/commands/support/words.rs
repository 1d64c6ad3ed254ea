//! A table of numbers in a block of frames.

use super::block::{Block, FRAME_WORDS};
use core::ops::{Deref, DerefMut};
use mm::addr::Order;
use mm::phys::GfpFlags;

/// The table. Its size is that of the block, at least what was asked for; all numbers start as 0.
pub struct Words(Block);

impl Words {
    /// Room for `count` numbers; `None` without memory, or above 4 MiB.
    pub fn alloc(count: usize) -> Option<Self> {
        let order = Order::covering(count.div_ceil(FRAME_WORDS) as u64)?;
        Block::alloc(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO, order).ok().map(Self)
    }

    fn len(&self) -> usize {
        FRAME_WORDS << self.0.order().get()
    }
}

impl Deref for Words {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        // SAFETY: the block is ours, mapped, initialised, and reached only through this table.
        unsafe { core::slice::from_raw_parts(self.0.base().as_ptr(), self.len()) }
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.0.base().as_ptr(), self.len()) }
    }
}
