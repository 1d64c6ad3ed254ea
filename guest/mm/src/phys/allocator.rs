//! The seam through which everything above gets frames.
//!
//! Owns: the trait and its implementation that never reclaims. Other implementations (one that reclaims, one that
//! may use the reserves) come with reclaim. Who needs frames takes an allocator as an argument, so that an
//! allocation during reclaim cannot reclaim again.

use super::error::{AllocError, FreeError};
use super::{Frames, GfpFlags, Phys};
use crate::addr::{Order, Pfn};
use crate::port::Machine;

/// Hands out and takes back blocks of frames.
pub trait FrameAllocator<'a> {
    /// Allocates a block of `order`.
    ///
    /// # Errors
    /// [`AllocError`].
    fn alloc(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'a>, AllocError>;

    /// Allocates a page, which is the caller's then, and gives its number.
    ///
    /// # Errors
    /// [`AllocError`].
    #[inline]
    fn alloc_page(&self, gfp: GfpFlags) -> Result<Pfn, AllocError> {
        Ok(self.alloc(gfp, Order::ZERO)?.into_raw().0)
    }

    /// Takes a block back.
    ///
    /// # Errors
    /// [`FreeError`] if it was not allocated like that.
    fn free(&self, frames: Frames<'a>) -> Result<(), FreeError>;
}

/// Allocates from the zones and fails when they are empty.
pub struct ZoneAllocator<'a, M> {
    phys: &'a Phys<M>,
}

impl<'a, M> ZoneAllocator<'a, M> {
    /// Allocates from `phys`.
    #[must_use]
    pub const fn new(phys: &'a Phys<M>) -> Self {
        Self { phys }
    }
}

impl<'a, M: Machine> ZoneAllocator<'a, M> {
    /// As [`FrameAllocator::alloc`], for who makes room if it fails, as far as the flags allow, and tries again.
    #[inline]
    pub(crate) fn alloc_first(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'a>, AllocError> {
        self.phys.alloc_pages_first(gfp, order)
    }
}

impl<'a, M: Machine> FrameAllocator<'a> for ZoneAllocator<'a, M> {
    #[inline]
    fn alloc(&self, gfp: GfpFlags, order: Order) -> Result<Frames<'a>, AllocError> {
        self.phys.alloc_pages(gfp, order)
    }

    #[inline(always)]
    fn alloc_page(&self, gfp: GfpFlags) -> Result<Pfn, AllocError> {
        self.phys.alloc_raw_page(gfp)
    }

    #[inline]
    fn free(&self, frames: Frames<'a>) -> Result<(), FreeError> {
        self.phys.free_pages(frames)
    }
}
