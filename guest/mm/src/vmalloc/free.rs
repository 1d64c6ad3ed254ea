//! Freeing areas: entries fault at once, the rest waits for a flush.

use super::segment::{Kind, Ref};
use super::space::NotBusy;
use super::{AreaFrames, Codec, Config, FreeAreaError, Vmalloc};
use crate::addr::VirtAddr;
use crate::pgtable::PtError;
use crate::port::{Machine, PteCodec};
use core::sync::atomic::Ordering;

impl<'m, M: Machine, F: AreaFrames> Vmalloc<'m, M, F> {
    /// Frees an area and its frames, which are free for others after the next [`Vmalloc::purge`] only.
    ///
    /// # Errors
    /// [`FreeAreaError`].
    pub fn vfree(&self, at: VirtAddr) -> Result<(), FreeAreaError> {
        self.free_area(at, |kind| kind == Kind::Vmalloc)
    }

    /// Takes away a mapping of frames that belong to somebody else. CPUs may have it cached until the next
    /// [`Vmalloc::purge`]: who gives the frames away calls that first (Linux `vm_unmap_aliases`).
    ///
    /// # Errors
    /// [`FreeAreaError`].
    pub fn vunmap(&self, at: VirtAddr) -> Result<(), FreeAreaError> {
        self.free_area(at, |kind| kind == Kind::Vmap)
    }

    /// Takes away a mapping of device registers.
    ///
    /// # Errors
    /// [`FreeAreaError`].
    pub fn iounmap(&self, at: VirtAddr) -> Result<(), FreeAreaError> {
        self.free_area(at, |kind| matches!(kind, Kind::Ioremap(_)))
    }

    #[inline]
    fn free_area(&self, at: VirtAddr, is_right: impl FnOnce(Kind) -> bool) -> Result<(), FreeAreaError> {
        let config = self.config().ok_or(FreeAreaError::BadAddress(at))?;
        let page = config.page_of(at).filter(|_| at.page_offset() == 0);
        let page = page.ok_or(FreeAreaError::BadAddress(at))?;
        let (area, kind, pages) = self.lock().begin_free(page, is_right).map_err(|why| match why {
            NotBusy::Nothing => FreeAreaError::Nonexistent(at),
            NotBusy::Freed => FreeAreaError::DoubleFree(at),
            NotBusy::Other => FreeAreaError::WrongKind(at),
        })?;
        self.retire(config, area, page, pages, kind).map_err(|_| FreeAreaError::Corrupt(at))
    }

    /// Makes every entry of an area that nobody uses fault, and hands it to the next purge; runs that if enough has
    /// come together. An area with corrupt tables is never used again.
    #[inline]
    pub(super) fn retire(
        &self,
        config: &Config<'m, M>,
        area: Ref,
        page: u64,
        pages: u64,
        kind: Kind,
    ) -> Result<(), PtError> {
        if let Some(part) = config.part(page, pages) {
            config.tree.scan(part, |slot, _, _| {
                slot.update(Codec::<M>::prot_none);
            })?;
        }
        let waiting = self.lock().retire(area, kind);
        if waiting > self.lazy_limit.load(Ordering::Relaxed) {
            self.purge();
        }
        Ok(())
    }
}
