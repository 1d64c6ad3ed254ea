//! Anonymous memory that is not there (Linux `do_anonymous_page`).

use super::{Flavour, GFP_PAGE, Stop, Touch};
use crate::folio::Folio;
use crate::pgtable::PteSlot;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Level, Machine, PteBits, PteCodec};
use crate::space::Codec;

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// Fills the empty entry in `slot`.
    #[inline(always)]
    pub(super) fn anon_page(&self, slot: PteSlot<'p>) -> Result<Flavour, Stop> {
        if !self.write {
            return self.zero_page(slot);
        }
        // Before the lock, and before the frame: neither is lost when the other cannot be had.
        let anchor = self.anchor()?;
        let pfn = self.frames.alloc_page(GFP_PAGE | GfpFlags::__GFP_ZERO)?;
        let folio = self.new_folio(pfn, self.vpn, anchor)?;
        let locked = self.lock(slot);
        if !slot.load().is_none() {
            drop(locked);
            return self.aside().lost(folio);
        }
        self.count_mapped(&locked, folio, Level::PTE);
        slot.set(self.exclusive_entry(pfn, Level::PTE));
        Ok(Flavour::Anon)
    }

    /// Another CPU has filled the entry: the folio was for nothing.
    #[cold]
    #[inline(never)]
    pub(super) fn lost(&self, folio: Folio<'_>) -> Result<Flavour, Stop> {
        if folio.put(1) {
            self.vm.free_folio(folio);
        }
        Err(Stop::Again)
    }

    /// Maps the page of zeroes, which nobody counts.
    #[inline(always)]
    fn zero_page(&self, slot: PteSlot<'p>) -> Result<Flavour, Stop> {
        let zero = self.ground.zero();
        let bits = (self.rights() - PteBits::WRITE) | PteBits::SPECIAL;
        let locked = self.lock(slot);
        if !slot.load().is_none() {
            return Err(Stop::Again);
        }
        slot.set(Codec::<M>::present(zero.addr(), bits));
        drop(locked);
        Ok(Flavour::AnonZero)
    }
}
