//! The end of a folio: its block goes back to the page allocator.

use super::{Folio, FolioFlags, Mapping};
use crate::addr::{Order, Pfn};
use crate::frame::{PageType, State};
use crate::phys::{FreeError, PageUse, Phys};
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

impl Folio<'_> {
    /// What it is used for; of one that is about to be freed, what it was used for.
    pub(crate) fn page_use(self) -> PageUse {
        match self.mapping() {
            Mapping::Anon(_) => PageUse::Anon,
            Mapping::Space(_) => PageUse::Shmem,
            Mapping::File(_) => PageUse::File,
            Mapping::None if self.flags().contains(FolioFlags::SWAPBACKED) => PageUse::Anon,
            // It has left its file.
            Mapping::None => PageUse::File,
        }
    }

    /// Has it on record what its frames were used for, if somebody wants to know.
    #[inline(always)]
    pub(crate) fn note_use<M: Machine>(self, phys: &Phys<M>) {
        if phys.keeps_history() {
            phys.note_use(self.pfn(), self.order(), self.page_use());
        }
    }
}

/// Frees a folio whose last reference is gone.
///
/// # Errors
/// [`FreeError`] if it was no folio: a bug of the caller.
pub(crate) fn free<M: Machine>(phys: &Phys<M>, folio: Folio<'_>) -> Result<(), FreeError> {
    folio.note_use(phys);
    let (pfn, order) = folio.dissolve();
    // SAFETY: nobody has a reference any more, so the block is the caller's alone.
    phys.free_pages(unsafe { phys.frames_from_raw(pfn, order) })
}
