//! Entries one by one, in place: for owners of a range who know what they do with each.
//!
//! Nothing here flushes, frees or grows: what the entries keep and when CPUs must have forgotten them is the
//! caller's.

use super::slot::{PteSlot, Table};
use super::{Codec, Gather, PageRange, PageTable, PtError, TableFrames, Why};
use crate::addr::Pfn;
use crate::port::{Level, Machine, Pte, PteBits, PteCodec};

impl<'m, M: Machine> PageTable<'m, M> {
    /// Shows every entry in `range` that says anything and is not a table, with its level and the part of the range
    /// that it covers. A large leaf that reaches beyond the range is shown like any other.
    ///
    /// # Errors
    /// `Invalid`, `Corrupt`.
    #[inline]
    pub fn scan(
        &self,
        range: PageRange,
        mut visit: impl FnMut(PteSlot<'m>, Level, PageRange),
    ) -> Result<(), PtError> {
        let root = self.root_level();
        let fail = |why| PtError { at: range.start(), why };
        if !range.fits(root) {
            return Err(fail(Why::Invalid));
        }
        self.scan_table(self.root_table().ok_or(fail(Why::Corrupt))?, root, range, &mut visit)
    }

    fn scan_table(
        &self,
        table: Table<'m>,
        level: Level,
        range: PageRange,
        visit: &mut impl FnMut(PteSlot<'m>, Level, PageRange),
    ) -> Result<(), PtError> {
        for (slot, part) in table.spans(level, range) {
            let pte = slot.load();
            if pte.is_none() {
                continue;
            }
            if level == Level::PTE || Codec::<M>::is_huge(pte) {
                visit(slot, level, part);
                continue;
            }
            let below = self.child(level, pte).ok_or(PtError { at: part.start(), why: Why::Corrupt })?;
            self.scan_table(below.1, below.0, part, visit)?;
        }
        Ok(())
    }

    /// Maps each page of `range` to the frame that `next` gives, in small leaves. [`PteBits::PRESENT`] is implied.
    ///
    /// # Errors
    /// `Invalid`, `Exists`, `NoFrames` (also when `next` has none), `Corrupt`. What lies before the page of the error
    /// is mapped.
    #[inline]
    pub fn map_each(
        &self,
        range: PageRange,
        bits: PteBits,
        frames: &impl TableFrames,
        mut next: impl FnMut() -> Option<Pfn>,
    ) -> Result<(), PtError> {
        let root = self.root_level();
        let fail = |why| PtError { at: range.start(), why };
        if !range.fits(root) {
            return Err(fail(Why::Invalid));
        }
        let table = self.root_table().ok_or(fail(Why::Corrupt))?;
        let bits = bits - PteBits::HUGE;
        self.fill_each(table, root, range, frames, &mut || Some(Codec::<M>::present(next()?.addr(), bits)))
    }

    fn fill_each(
        &self,
        table: Table<'m>,
        level: Level,
        range: PageRange,
        frames: &impl TableFrames,
        next: &mut impl FnMut() -> Option<Pte>,
    ) -> Result<(), PtError> {
        for (slot, part) in table.spans(level, range) {
            let fail = |why| PtError { at: part.start(), why };
            if level == Level::PTE {
                if !slot.load().is_none() {
                    return Err(fail(Why::Exists));
                }
                slot.set(next().ok_or(fail(Why::NoFrames))?);
                continue;
            }
            let (below, child) = self.ensure_child(level, slot, frames).map_err(fail)?;
            self.fill_each(child, below, part, frames, next)?;
        }
        Ok(())
    }

    /// Unlinks the empty tables that `range` covers whole. Tables that reach beyond it stay, so neighbours may go on
    /// changing what lies beside the range.
    ///
    /// # Errors
    /// `Invalid`, `Corrupt`.
    pub fn prune<F: TableFrames>(
        &self,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
    ) -> Result<(), PtError> {
        let root = self.root_level();
        let fail = |why| PtError { at: range.start(), why };
        if !range.fits(root) {
            return Err(fail(Why::Invalid));
        }
        self.prune_table(self.root_table().ok_or(fail(Why::Corrupt))?, root, range, gather)
    }

    fn prune_table<F: TableFrames>(
        &self,
        table: Table<'m>,
        level: Level,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
    ) -> Result<(), PtError> {
        for (slot, part) in table.spans(level, range) {
            let pte = slot.load();
            if level == Level::PTE || pte.is_none() || Codec::<M>::is_huge(pte) {
                continue;
            }
            let fail = PtError { at: part.start(), why: Why::Corrupt };
            let (below, child) = self.child(level, pte).ok_or(fail)?;
            if below > Level::PTE {
                self.prune_table(child, below, part, gather)?;
            }
            let shared = level == self.root_level() && part.is_upper_half();
            if part.pages() == level.pages() && !shared && child.is_empty() {
                // Only the MMU's A can have changed in the entry of a table.
                let link = slot.take();
                gather.add_table(part, Codec::<M>::addr(link), child);
            }
        }
        Ok(())
    }
}
