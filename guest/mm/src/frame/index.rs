//! The number of a frame whose descriptor may be touched.
//!
//! Owns: [`FrameIdx`], the proof that makes unchecked table access sound. Invariants: a `FrameIdx` lies in a 4 MiB
//! block that its table covers, because it came from [`FrameTable::lookup`](super::FrameTable::lookup) or
//! `block`, from a link that holds one, or by moving inside its 4 MiB block. Frame 0 is never handed out, so that
//! 0 can mean "none" in links and an empty list is zeroed memory.

use crate::addr::{Order, Pfn};
use core::num::NonZeroU32;

/// See the module documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct FrameIdx(NonZeroU32);

impl From<Option<FrameIdx>> for Pfn {
    /// The frame number of a place that may hold none: then that of the frame that is never handed out.
    #[inline(always)]
    fn from(place: Option<FrameIdx>) -> Self {
        place.map_or(Self::from_u32(0), FrameIdx::pfn)
    }
}

impl FrameIdx {
    /// `pfn` without a check; only for the table and the links.
    #[inline(always)]
    pub(super) const fn trusted(pfn: u32) -> Option<Self> {
        match NonZeroU32::new(pfn) {
            Some(pfn) => Some(Self(pfn)),
            None => None,
        }
    }

    /// The frame number.
    #[inline(always)]
    pub(crate) const fn get(self) -> u32 {
        self.0.get()
    }

    /// The frame number for the outside.
    #[inline(always)]
    pub(crate) const fn pfn(self) -> Pfn {
        Pfn::from_u32(self.get())
    }

    /// Whether a block of `order` may start here.
    #[inline(always)]
    pub(crate) const fn is_aligned(self, order: Order) -> bool {
        self.get() & (order.pages() as u32 - 1) == 0
    }

    /// The buddy of the block of `order` that starts here; none for the largest order.
    #[inline(always)]
    pub(crate) const fn buddy(self, order: Order) -> Option<Self> {
        if order.get() == Order::MAX.get() { None } else { Self::trusted(self.get() ^ 1 << order.get()) }
    }

    /// The first frame of the block of `order` around this frame; none if that is frame 0.
    #[inline(always)]
    pub(crate) const fn block_start(self, order: Order) -> Option<Self> {
        Self::trusted(self.get() & !(order.pages() as u32 - 1))
    }

    /// The frame `n` pages into the block of `order` that starts here; `None` past its end.
    #[inline(always)]
    pub(crate) const fn within(self, order: Order, n: u32) -> Option<Self> {
        // The block is covered as a whole, and starts at a multiple of its size.
        if n < order.pages() as u32 { Self::trusted(self.get() | n) } else { None }
    }

    /// The frame `pfn`, if it lies in the same pageblock.
    #[inline(always)]
    pub(crate) const fn in_pageblock(self, pfn: Pfn) -> Option<Self> {
        let differs = (pfn.get() ^ self.get() as u64) >> Order::PAGEBLOCK.get() != 0;
        if differs { None } else { Self::trusted(pfn.get() as u32) }
    }

    /// The frame `n` pages before this one, if it lies in the same 4 MiB block.
    #[inline(always)]
    pub(crate) const fn back(self, n: u32) -> Option<Self> {
        let to = self.get().wrapping_sub(n);
        if to >> Order::MAX.get() == self.get() >> Order::MAX.get() { Self::trusted(to) } else { None }
    }

    /// The frame `offset` pages further on in the block that starts here.
    ///
    /// The block is aligned to its size, which is above `offset`, so the result is inside it.
    #[inline(always)]
    pub(crate) fn inside(self, offset: u32) -> Self {
        Self(self.0 | offset)
    }

    /// The frame `half` pages further on, which is the upper half of the block of twice that size here.
    ///
    /// The caller splits a block, which is aligned to its size, so the result is inside it.
    #[inline(always)]
    pub(crate) fn upper_half(self, half: Order) -> Self {
        Self(self.0 | half.pages() as u32)
    }
}
