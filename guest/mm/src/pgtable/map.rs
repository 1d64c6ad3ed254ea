//! Mapping frames that lie in a row: one leaf, or a range with the largest leaves that fit.

use super::slot::Table;
use super::{Codec, Leaves, PageRange, PageTable, PtError, TableFrames, Why};
use crate::addr::{Pfn, PhysAddr, VirtAddr};
use crate::port::{Level, Machine, Mmu, PteBits, PteCodec};

/// What all leaves of one call have in common.
struct Fill<'a, 'm, M: Machine, F> {
    tree: PageTable<'m, M>,
    frames: &'a F,
    bits: PteBits,
    max_leaf: Level,
    leaves: Leaves,
}

/// `bits` as a leaf of `level` has them.
fn leaf_bits(bits: PteBits, level: Level) -> PteBits {
    if level == Level::PTE { bits - PteBits::HUGE } else { bits | PteBits::HUGE }
}

impl<M: Machine> PageTable<'_, M> {
    /// Maps one leaf of `level` at `va` to `pa`. [`PteBits::PRESENT`] and [`PteBits::HUGE`] are implied.
    ///
    /// # Errors
    /// `Invalid` if an address is not aligned to the leaf, `NoSuchLeaf`, `Exists`, `NoFrames`, `Corrupt`.
    pub fn map(
        &self,
        va: VirtAddr,
        pa: PhysAddr,
        level: Level,
        bits: PteBits,
        frames: &impl TableFrames,
    ) -> Result<(), PtError> {
        let fail = |why| Err(PtError { at: va, why });
        if level > self.machine.mmu().max_leaf() {
            return fail(Why::NoSuchLeaf);
        }
        if (va.get() | pa.get()) & (level.size() - 1) != 0 {
            return fail(Why::Invalid);
        }
        let slot = self.populate(va, level, frames)?;
        if !slot.load().is_none() {
            return fail(Why::Exists);
        }
        slot.set(Codec::<M>::present(pa, leaf_bits(bits, level)));
        Ok(())
    }

    /// Maps `range` to the frames from `pa`, with the largest leaves that alignment, the MMU and `max_leaf`
    /// allow, and gives how many of each there are.
    ///
    /// # Errors
    /// `Invalid`, `Exists`, `NoFrames`, `Corrupt`. What lies before the page of the error is mapped.
    pub fn map_range(
        &self,
        range: PageRange,
        pa: PhysAddr,
        max_leaf: Level,
        bits: PteBits,
        frames: &impl TableFrames,
    ) -> Result<Leaves, PtError> {
        let fail = |why| PtError { at: range.start(), why };
        let root = self.root_level();
        let end = pa.pfn().checked_add(range.pages());
        if !range.fits(root) || pa.page_offset() != 0 || end.is_none() {
            return Err(fail(Why::Invalid));
        }
        let table = self.root_table().ok_or(fail(Why::Corrupt))?;
        let max_leaf = max_leaf.min(self.machine.mmu().max_leaf());
        let mut fill = Fill { tree: *self, frames, bits, max_leaf, leaves: Leaves::default() };
        fill.table(table, root, range, pa.pfn())?;
        Ok(fill.leaves)
    }
}

impl<'m, M: Machine, F: TableFrames> Fill<'_, 'm, M, F> {
    /// Fills the part of `table` that covers `range`, which starts at frame `pfn`.
    fn table(&mut self, table: Table<'m>, level: Level, range: PageRange, pfn: Pfn) -> Result<(), PtError> {
        // An entry can be a leaf here if frame and page are congruent; then whole entries are.
        let congruent = (range.start().vpn().get() ^ pfn.get()) & (level.pages() - 1) == 0;
        let leaf_here = level <= self.max_leaf && congruent;
        let first = Codec::<M>::present(pfn.addr(), leaf_bits(self.bits, level));
        let mut done = 0;
        for (slot, part) in table.spans(level, range) {
            let fail = |why| PtError { at: part.start(), why };
            let pages = range.offset_of(part);
            let whole = part.pages() == level.pages();
            let pte = slot.load();
            if leaf_here && whole && pte.is_none() {
                slot.set(Codec::<M>::advance(first, pages));
                done += 1;
                continue;
            }
            self.leaves.add(level, core::mem::take(&mut done));
            if level == Level::PTE {
                return Err(fail(Why::Exists));
            }
            let (below, child) = self.tree.ensure_child(level, slot, self.frames).map_err(fail)?;
            let pfn = pfn.checked_add(pages).ok_or(fail(Why::Invalid))?;
            self.table(child, below, part, pfn)?;
        }
        self.leaves.add(level, done);
        Ok(())
    }
}
