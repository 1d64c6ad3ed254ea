//! Where table frames come from: memblock at boot, the frame allocators later.

use crate::addr::Pfn;

/// A source of frames for page tables.
///
/// # Safety
/// A frame that [`TableFrames::alloc_table`] gives is in the direct map and nobody else uses it until it
/// comes back.
pub unsafe trait TableFrames {
    /// A frame with any contents; `None` if there is none.
    fn alloc_table(&self) -> Option<Pfn>;

    /// Takes back a frame. All its bytes are 0.
    ///
    /// # Safety
    /// The frame came from `alloc_table` of this source, and neither software nor any MMU uses it any more.
    unsafe fn free_table(&self, pfn: Pfn);
}
