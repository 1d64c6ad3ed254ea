//! Copying the entries of a range to another tree (Linux `copy_page_range`).
//!
//! Goes through both trees table by table, so that the cost of finding an entry is paid once for 512 of them. Tables
//! of the other tree are made on demand, and only where there is something to copy.

use super::slot::{PteSlot, Table};
use super::{Codec, PageRange, PageTable, PtError, TableFrames, Why};
use crate::port::{Level, Machine, Pte, PteCodec};

/// What the other tree gets.
pub trait CopyEntry<'m> {
    /// What it says where this one has `entry`, which is in `slot`, of the last level.
    fn small(&mut self, slot: PteSlot<'m>, entry: Pte) -> Pte;

    /// The same for a large leaf of `level`.
    fn large(&mut self, slot: PteSlot<'m>, level: Level) -> Pte;
}

impl<'m, M: Machine> PageTable<'m, M> {
    /// Shows every entry in `range` that says anything and is not a table, and puts what `copy` makes of it into `to`,
    /// where nothing is mapped in the range. Large leaves lie in the range as a whole.
    ///
    /// # Errors
    /// `Invalid`, `NoFrames`, `Corrupt`. What lies before the page of the error was copied.
    pub fn clone_range(
        &self,
        to: &Self,
        range: PageRange,
        frames: &impl TableFrames,
        copy: &mut impl CopyEntry<'m>,
    ) -> Result<(), PtError> {
        let root = self.root_level();
        let fail = |why| PtError { at: range.start(), why };
        if !range.fits(root) {
            return Err(fail(Why::Invalid));
        }
        let from = self.root_table().ok_or(fail(Why::Corrupt))?;
        let into = to.root_table().ok_or(fail(Why::Corrupt))?;
        self.clone_table((from, into), root, range, frames, copy)
    }

    fn clone_table(
        &self,
        (from, into): (Table<'m>, Table<'m>),
        level: Level,
        range: PageRange,
        frames: &impl TableFrames,
        copy: &mut impl CopyEntry<'m>,
    ) -> Result<(), PtError> {
        if level == Level::PTE {
            clone_last(from, into, range, copy);
            return Ok(());
        }
        for (slot, part) in from.spans(level, range) {
            let fail = |why| PtError { at: part.start(), why };
            let pte = slot.load();
            if pte.is_none() {
                continue;
            }
            let twin = into.slot(part.index(level));
            if Codec::<M>::is_huge(pte) {
                if part.pages() != level.pages() {
                    return Err(fail(Why::Invalid));
                }
                twin.set(copy.large(slot, level));
                continue;
            }
            let (below, child) = self.child(level, pte).ok_or(fail(Why::Corrupt))?;
            let (_, other) = self.ensure_child(level, twin, frames).map_err(fail)?;
            self.clone_table((child, other), below, part, frames, copy)?;
        }
        Ok(())
    }
}

/// Copies the entries of one last table.
#[inline]
fn clone_last<'m>(from: Table<'m>, into: Table<'m>, range: PageRange, copy: &mut impl CopyEntry<'m>) {
    for (slot, twin) in from.slots_of(range).zip(into.slots_of(range)) {
        let entry = slot.load();
        if !entry.is_none() {
            twin.set(copy.small(slot, entry));
        }
    }
}
