//! The one traversal behind every change of the leaves in a range.
//!
//! Leaves that only partly lie in the range are split first, so that an operation sees whole leaves.

use super::slot::{PteSlot, Table};
use super::{Codec, Gather, PageRange, PageTable, PtError, TableFrames, Why};
use crate::port::{Level, Machine, PteCodec};

/// What is done to each leaf.
pub(super) trait LeafOp {
    /// Whether tables that are empty afterwards are unlinked.
    const PRUNES: bool;

    /// Changes the entry in `slot`, a leaf or parked one of `level` that covers `range`.
    fn leaf<M: Machine, F: TableFrames>(
        &mut self,
        slot: PteSlot<'_>,
        level: Level,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
    );
}

impl<'m, M: Machine> PageTable<'m, M> {
    /// Does `op` to every leaf in `range`.
    pub(super) fn sweep<F: TableFrames, O: LeafOp>(
        &self,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
        op: &mut O,
    ) -> Result<(), PtError> {
        let root = self.root_level();
        let fail = |why| PtError { at: range.start(), why };
        if !range.fits(root) {
            return Err(fail(Why::Invalid));
        }
        let table = self.root_table().ok_or(fail(Why::Corrupt))?;
        self.sweep_table(table, root, range, gather, op)
    }

    fn sweep_table<F: TableFrames, O: LeafOp>(
        &self,
        table: Table<'m>,
        level: Level,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
        op: &mut O,
    ) -> Result<(), PtError> {
        for (slot, part) in table.spans(level, range) {
            let fail = |why| PtError { at: part.start(), why };
            let pte = slot.load();
            if pte.is_none() {
                continue;
            }
            let whole = part.pages() == level.pages();
            let leaf = level == Level::PTE || Codec::<M>::is_huge(pte);
            if leaf && whole {
                op.leaf(slot, level, part, gather);
                continue;
            }
            let (below, child) = if leaf {
                self.split_leaf(level, slot, part, gather).map_err(fail)?
            } else {
                self.child(level, pte).ok_or(fail(Why::Corrupt))?
            };
            self.sweep_table(child, below, part, gather, op)?;
            let shared = level == self.root_level() && part.is_upper_half();
            if O::PRUNES && !shared && child.is_empty() {
                // Only the MMU's A can have changed in the entry of a table.
                let link = slot.take();
                gather.add_table(part, Codec::<M>::addr(link), child);
            }
        }
        Ok(())
    }
}
