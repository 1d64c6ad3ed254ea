//! Growing the tree: tables on the way to an entry, made where they are missing.

use super::slot::{PteSlot, Table};
use super::{Codec, PageRange, PageTable, PtError, TableFrames, Why};
use crate::addr::{Pfn, VirtAddr};
use crate::port::{Level, Machine, PhysMem, Pte, PteCodec};

/// A zeroed frame.
pub(super) fn new_table<M: Machine>(machine: &M, frames: &impl TableFrames) -> Option<Pfn> {
    let pfn = frames.alloc_table()?;
    // SAFETY: the frame was just handed out, to nobody else.
    unsafe { machine.physmem().zero(pfn) };
    Some(pfn)
}

/// A table of the last level, for whoever changes several entries of it.
#[derive(Clone, Copy)]
pub struct LastTable<'m>(Table<'m>);

impl<'m> LastTable<'m> {
    /// The entry for page `vpn`, which lies in the part that the table maps.
    #[inline]
    #[must_use]
    pub fn slot(self, vpn: u64) -> PteSlot<'m> {
        self.0.slot(vpn as usize)
    }
}

impl<'m, M: Machine> PageTable<'m, M> {
    /// The entry of `level` for `va`, with all tables above it (Linux `pte_alloc`).
    ///
    /// # Errors
    /// `Invalid`, `NoFrames`, `Corrupt`; `Exists` if a larger leaf is in the way.
    #[inline(always)]
    pub fn populate(
        &self,
        va: VirtAddr,
        level: Level,
        frames: &impl TableFrames,
    ) -> Result<PteSlot<'m>, PtError> {
        Ok(self.populate_table(va, level, frames)?.slot(level.index(va)))
    }

    /// The table of `level` on the way to `va`, with all tables above it.
    #[inline(always)]
    pub(super) fn populate_table(
        &self,
        va: VirtAddr,
        level: Level,
        frames: &impl TableFrames,
    ) -> Result<Table<'m>, PtError> {
        let fail = |why| PtError { at: va, why };
        let mut at = self.root_level();
        if !va.is_canonical(at.get()) || level > at {
            return Err(fail(Why::Invalid));
        }
        let mut table = self.root_table().ok_or(fail(Why::Corrupt))?;
        while at > level {
            (at, table) = self.ensure_child(at, table.slot(at.index(va)), frames).map_err(fail)?;
        }
        Ok(table)
    }

    /// The entry of the last level for `va` below the entry `slot` of [`Level::PMD`], with a table made if there is none.
    ///
    /// # Errors
    /// `NoFrames`, `Corrupt`; `Exists` if `slot` is a leaf.
    #[inline]
    pub fn populate_last(
        &self,
        slot: PteSlot<'m>,
        va: VirtAddr,
        frames: &impl TableFrames,
    ) -> Result<PteSlot<'m>, PtError> {
        let child = self.ensure_child(Level::PMD, slot, frames);
        let (_, table) = child.map_err(|why| PtError { at: va, why })?;
        Ok(table.slot(Level::PTE.index(va)))
    }

    /// The entry of the last level for `va`, if all tables on the way are there.
    #[inline(always)]
    pub fn last_entry(&self, va: VirtAddr) -> Option<PteSlot<'m>> {
        let root = self.root_level();
        if !va.is_canonical(root.get()) {
            return None;
        }
        // Level by level: which are there is known when this is compiled.
        let below = |table: Table<'m>, level: Level| {
            if level > root {
                return Some(table);
            }
            Some(self.child(level, table.slot(level.index(va)).load())?.1)
        };
        let table = below(below(self.root_table()?, Level::PGD)?, Level::P4D)?;
        let table = below(below(table, Level::PUD)?, Level::PMD)?;
        Some(table.slot(Level::PTE.index(va)))
    }

    /// The entries of the last table on the way to `va`; `None` if there is no such table.
    #[inline]
    #[must_use]
    pub fn last_table(&self, va: VirtAddr) -> Option<LastTable<'m>> {
        let (level, table) = self.lowest_table(va)?;
        (level == Level::PTE).then_some(LastTable(table))
    }

    /// Makes the root's entries for `range` lead to tables, so that roots that share them never need syncing.
    ///
    /// # Errors
    /// As [`PageTable::populate`].
    pub fn preallocate(&self, range: PageRange, frames: &impl TableFrames) -> Result<(), PtError> {
        let root = self.root_level();
        let fail = |why| PtError { at: range.start(), why };
        if !range.fits(root) {
            return Err(fail(Why::Invalid));
        }
        let table = self.root_table().ok_or(fail(Why::Corrupt))?;
        for (slot, part) in table.spans(root, range) {
            self.ensure_child(root, slot, frames).map_err(|why| PtError { at: part.start(), why })?;
        }
        Ok(())
    }

    /// The table that `slot` of `level` leads to, made if there is none.
    #[inline(always)]
    pub(super) fn ensure_child(
        &self,
        level: Level,
        slot: PteSlot<'m>,
        frames: &impl TableFrames,
    ) -> Result<(Level, Table<'m>), Why> {
        match self.child(level, slot.load()) {
            Some(child) => Ok(child),
            None => self.make_child(level, slot, frames),
        }
    }

    /// As [`PageTable::ensure_child`], where no table was found.
    #[cold]
    #[inline(never)]
    fn make_child(
        &self,
        level: Level,
        slot: PteSlot<'m>,
        frames: &impl TableFrames,
    ) -> Result<(Level, Table<'m>), Why> {
        let mut pte = slot.load();
        if pte.is_none() {
            pte = self.link_table(slot, frames)?;
        }
        if Codec::<M>::is_huge(pte) {
            return Err(Why::Exists);
        }
        self.child(level, pte).ok_or(Why::Corrupt)
    }

    /// Links a new table into an empty slot; if a neighbour was faster, gives what is there now.
    fn link_table(&self, slot: PteSlot<'m>, frames: &impl TableFrames) -> Result<Pte, Why> {
        let pfn = new_table(self.machine, frames).ok_or(Why::NoFrames)?;
        let pte = Codec::<M>::present(pfn.addr(), Codec::<M>::TABLE_BITS);
        match slot.compare_exchange(Pte::NONE, pte) {
            Ok(()) => Ok(pte),
            Err(found) => {
                // SAFETY: it came from `alloc_table` above and was never linked.
                unsafe { frames.free_table(pfn) };
                Ok(found)
            }
        }
    }
}
