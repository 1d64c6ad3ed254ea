//! Unmapping: leaves taken out, tables that are empty afterwards unlinked.

use super::slot::PteSlot;
use super::sweep::LeafOp;
use super::{Gather, PageRange, PageTable, PtError, TableFrames};
use crate::addr::VirtAddr;
use crate::port::{Level, Machine, Pte};

/// Empties entries and shows what they were.
struct Take<V>(V);

impl<V: FnMut(VirtAddr, Level, Pte)> LeafOp for Take<V> {
    const PRUNES: bool = true;

    #[inline]
    fn leaf<M: Machine, F: TableFrames>(
        &mut self,
        slot: PteSlot<'_>,
        level: Level,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
    ) {
        let old = slot.take();
        gather.changed(range, old, Pte::NONE);
        (self.0)(range.start(), level, old);
    }
}

impl<M: Machine> PageTable<'_, M> {
    /// Empties every entry in `range`, splitting leaves that reach beyond it, and shows each to `taken`: its
    /// first address, its level, and what it was, parked entries included.
    ///
    /// CPUs may use the old translations until `gather` is finished: what `taken` is shown must not be freed
    /// before.
    ///
    /// # Errors
    /// `Invalid`, `NoFrames` (for a split), `Corrupt`.
    pub fn unmap<F: TableFrames>(
        &self,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
        taken: impl FnMut(VirtAddr, Level, Pte),
    ) -> Result<(), PtError> {
        self.sweep(range, gather, &mut Take(taken))
    }
}
