//! Areas over frames that belong to somebody else: a list of frames, or device registers.

use super::segment::{GUARD, Kind, State};
use super::{AreaFrames, Vmalloc, VmallocError};
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use crate::pgtable::Why;
use crate::port::{Machine, PteBits};

impl<'m, M: Machine, F: AreaFrames> Vmalloc<'m, M, F> {
    /// Maps `frames` in their order, with `bits` added to what all areas have (Linux `vmap`). They stay whose they
    /// are and must not go away before [`Vmalloc::vunmap`].
    ///
    /// # Errors
    /// [`VmallocError`].
    pub fn vmap(
        &self,
        frames: impl ExactSizeIterator<Item = Pfn>,
        bits: PteBits,
        caller: u64,
    ) -> Result<VirtAddr, VmallocError> {
        self.map_frames(frames, bits, Kind::Vmap, caller)
    }

    /// Maps the registers of a device at `addr`, `bytes` of them, with `bits` added to what all areas have; gives
    /// where `addr` is seen (Linux `ioremap`).
    ///
    /// # Errors
    /// [`VmallocError`].
    pub fn ioremap(
        &self,
        addr: PhysAddr,
        bytes: u64,
        bits: PteBits,
        caller: u64,
    ) -> Result<VirtAddr, VmallocError> {
        let first = PhysAddr::truncate(addr.get() - addr.page_offset());
        let end = addr.page_offset().checked_add(bytes).ok_or(VmallocError::BadSize)?;
        let pages = if bytes == 0 { 0 } else { end.div_ceil(PAGE_SIZE) };
        let pages = u32::try_from(pages).map_err(|_| VmallocError::BadSize)?;
        first.pfn().checked_add(u64::from(pages)).ok_or(VmallocError::Invalid)?;
        let frames = (0..pages).map(|n| first.pfn().checked_add(u64::from(n)).unwrap_or_default());
        let start = self.map_frames(frames, bits | PteBits::SPECIAL, Kind::Ioremap(first), caller)?;
        start.checked_add(addr.page_offset()).ok_or(VmallocError::Corrupt)
    }

    fn map_frames(
        &self,
        mut frames: impl ExactSizeIterator<Item = Pfn>,
        bits: PteBits,
        kind: Kind,
        caller: u64,
    ) -> Result<VirtAddr, VmallocError> {
        let config = self.config().ok_or(VmallocError::NotReady)?;
        let pages = frames.len() as u64;
        if pages == 0 {
            return Err(VmallocError::BadSize);
        }
        let reserved = {
            let mut space = self.lock_with_spare().ok_or(VmallocError::NoMemory)?;
            space.take(pages.saturating_add(GUARD), 1, State::Changing, caller)
        };
        let (area, page) = reserved.ok_or(VmallocError::NoAddresses)?;
        let part = config.part(page, pages).ok_or(VmallocError::Corrupt)?;
        match config.tree.map_each(part, config.bits | bits, &self.frames, || frames.next()) {
            Ok(()) => {
                self.lock().publish(area, kind);
                Ok(part.start())
            }
            Err(error) => {
                let unmapped = self.retire(config, area, page, pages, kind);
                self.purge();
                Err(match (error.why, unmapped) {
                    (Why::NoFrames, Ok(())) => VmallocError::NoMemory,
                    _ => VmallocError::Corrupt,
                })
            }
        }
    }
}
