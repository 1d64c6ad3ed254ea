//! Frames on their way between the page allocator and page tables, several at a time.
//!
//! Owns: two small arrays, one for each direction. Invariants: the frames in them are nobody else's; what a supply has
//! left, and what a return has gathered, goes back when it is dropped.

use super::AreaFrames;
use crate::addr::{NodeId, Pfn};
use crate::phys::GfpFlags;

/// How many frames are moved at once.
const AT_ONCE: usize = 16;

/// Single frames for page tables.
pub(super) struct Supply<'f, F: AreaFrames> {
    frames: &'f F,
    node: Option<NodeId>,
    gfp: GfpFlags,
    /// How many will be asked for that have not been fetched.
    wanted: u64,
    batch: [Pfn; AT_ONCE],
    next: usize,
    full: usize,
}

impl<'f, F: AreaFrames> Supply<'f, F> {
    /// `wanted` frames from `frames`.
    pub(super) fn new(frames: &'f F, node: Option<NodeId>, gfp: GfpFlags, wanted: u64) -> Self {
        Self { frames, node, gfp, wanted, batch: [Pfn::from_u32(0); AT_ONCE], next: 0, full: 0 }
    }

    /// The next frame, which is the caller's; `None` if there is none.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<Pfn> {
        if self.next == self.full {
            self.fetch();
        }
        let frame = *self.batch.get(..self.full)?.get(self.next)?;
        self.next += 1;
        Some(frame)
    }

    #[inline(never)]
    fn fetch(&mut self) {
        let many = self.wanted.min(AT_ONCE as u64) as usize;
        let slots = self.batch.get_mut(..many).unwrap_or_default();
        self.full = self.frames.alloc_many(self.node, self.gfp, slots).min(many);
        self.next = 0;
        self.wanted -= self.full as u64;
    }
}

impl<F: AreaFrames> Drop for Supply<'_, F> {
    #[inline]
    fn drop(&mut self) {
        let rest = self.batch.get(self.next..self.full).unwrap_or_default();
        if !rest.is_empty() {
            // SAFETY: `alloc_many` gave them, and nobody got them since.
            unsafe { self.frames.free_many(rest) };
        }
    }
}

/// Single frames that are free now.
pub(super) struct Return<'f, F: AreaFrames> {
    frames: &'f F,
    batch: [Pfn; AT_ONCE],
    full: usize,
}

impl<'f, F: AreaFrames> Return<'f, F> {
    /// Nothing yet, for `frames`.
    pub(super) fn new(frames: &'f F) -> Self {
        Self { frames, batch: [Pfn::from_u32(0); AT_ONCE], full: 0 }
    }

    /// Takes a frame.
    ///
    /// # Safety
    /// As for [`AreaFrames::free_frames`], with order 0.
    #[inline(always)]
    pub(super) unsafe fn add(&mut self, frame: Pfn) {
        if self.full == AT_ONCE {
            self.flush();
        }
        if let Some(slot) = self.batch.get_mut(self.full) {
            *slot = frame;
            self.full += 1;
        }
    }

    #[inline(never)]
    fn flush(&mut self) {
        let all = self.batch.get(..core::mem::take(&mut self.full)).unwrap_or_default();
        // SAFETY: promised to `add` of each of them, and they are gone from here.
        unsafe { self.frames.free_many(all) };
    }
}

impl<F: AreaFrames> Drop for Return<'_, F> {
    #[inline]
    fn drop(&mut self) {
        if self.full > 0 {
            self.flush();
        }
    }
}
