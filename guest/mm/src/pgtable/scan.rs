//! Entries one by one, in place: for owners of a range who know what they do with each.
//!
//! Nothing here flushes, frees or grows: what the entries keep and when CPUs must have forgotten them is the
//! caller's.

use super::slot::{PteSlot, Table};
use super::{Codec, Gather, PageRange, PageTable, PtError, TableFrames, Why};
use crate::addr::{Pfn, VirtAddr};
use crate::port::{Level, Machine, PteBits, PteCodec};

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
        self.scan_while(range, |slot, level, part| {
            visit(slot, level, part);
            true
        })
        .map(drop)
    }

    /// As [`PageTable::scan`], until `visit` says no; gives how many pages from the start on were gone through, the
    /// last one shown included.
    ///
    /// # Errors
    /// `Invalid`, `Corrupt`.
    #[inline]
    pub fn scan_while(
        &self,
        range: PageRange,
        mut visit: impl FnMut(PteSlot<'m>, Level, PageRange) -> bool,
    ) -> Result<u64, PtError> {
        let (first, end) = range.bounds();
        let mut at = first;
        self.check(range)?;
        while at < end {
            let va = range.cut(at, end).start();
            let (level, table) = self.lowest_table(va).ok_or(PtError { at: va, why: Why::Corrupt })?;
            let pages = level.pages();
            for index in level.index(va)..Level::ENTRIES {
                let slot = table.slot(index);
                let pte = slot.load();
                let border = (at | (pages - 1)) + 1;
                if !pte.is_none() {
                    if level != Level::PTE && !Codec::<M>::is_huge(pte) {
                        break;
                    }
                    if !visit(slot, level, range.cut(at, border.min(end))) {
                        return Ok(border.min(end) - first);
                    }
                }
                at = border;
                if at >= end {
                    break;
                }
            }
        }
        Ok(end - first)
    }

    fn check(&self, range: PageRange) -> Result<(), PtError> {
        if range.fits(self.root_level()) {
            Ok(())
        } else {
            Err(PtError { at: range.start(), why: Why::Invalid })
        }
    }

    /// The last table on the way to `va`, and its level; `None` if the tree is corrupt.
    #[inline]
    pub(super) fn lowest_table(&self, va: VirtAddr) -> Option<(Level, Table<'m>)> {
        let (mut level, mut table) = (self.root_level(), self.root_table()?);
        while level > Level::PTE {
            let pte = table.slot(level.index(va)).load();
            if !Codec::<M>::is_present(pte) || Codec::<M>::is_huge(pte) {
                break;
            }
            (level, table) = self.child(level, pte)?;
        }
        Some((level, table))
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
        let (mut at, end) = range.bounds();
        let bits = bits - PteBits::HUGE;
        self.check(range)?;
        while at < end {
            let va = range.cut(at, end).start();
            let table = self.populate_table(va, Level::PTE, frames)?;
            for index in Level::PTE.index(va)..Level::ENTRIES {
                let fail = |why| PtError { at: range.cut(at, end).start(), why };
                let slot = table.slot(index);
                if !slot.load().is_none() {
                    return Err(fail(Why::Exists));
                }
                slot.set(Codec::<M>::present(next().ok_or(fail(Why::NoFrames))?.addr(), bits));
                at += 1;
                if at == end {
                    break;
                }
            }
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
        self.check(range)?;
        let table = self.root_table().ok_or(PtError { at: range.start(), why: Why::Corrupt })?;
        self.prune_table(table, self.root_level(), range, gather)
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
