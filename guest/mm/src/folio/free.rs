//! The end of a folio: its block goes back to the page allocator.

use super::Folio;
use crate::addr::{Order, Pfn};
use crate::frame::{PageType, State};
use crate::phys::{FreeError, Phys};
use crate::port::Machine;
use core::sync::atomic::Ordering;

impl Folio<'_> {
    /// Clears what the descriptors say, so that the block can be given back; its first frame and order.
    #[inline]
    pub(crate) fn dissolve(self) -> (Pfn, Order) {
        let state = self.frame().state();
        if state.order() != Order::ZERO {
            self.whole().store(0, Ordering::Relaxed);
        }
        self.dissolve_first(state);
        (self.idx.pfn(), state.order())
    }

    /// Clears what the first descriptor says, whose state is `state`: all that a folio of one page has.
    #[inline(always)]
    pub(crate) fn dissolve_first(self, state: State) {
        for word in self.frame().held_words() {
            word.store(0, Ordering::Relaxed);
        }
        self.frame().held().store(0, Ordering::Relaxed);
        self.frame().set_state(state.with_page_type(PageType::None));
    }
}

/// Frees a folio whose last reference is gone.
///
/// # Errors
/// [`FreeError`] if it was no folio: a bug of the caller.
pub(crate) fn free<M: Machine>(phys: &Phys<M>, folio: Folio<'_>) -> Result<(), FreeError> {
    let (pfn, order) = folio.dissolve();
    // SAFETY: nobody has a reference any more, so the block is the caller's alone.
    phys.free_pages(unsafe { phys.frames_from_raw(pfn, order) })
}
