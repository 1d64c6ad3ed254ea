//! Splitting a large leaf into a table of leaves of the next size, without a moment in which it does not
//! translate.
//!
//! A mapping that just runs this code may be split. The new table repeats the leaf's rights, A and D in every
//! entry; if the MMU sets one of them meanwhile, the exchange fails and the table is filled again. Parked
//! leaves (swap, migration, prot-none) split alike.

use super::slot::{PteSlot, Table};
use super::{Codec, Gather, PageRange, PageTable, PtError, TableFrames, Why};
use crate::addr::{Pfn, VirtAddr};
use crate::mutant::planted;
use crate::port::{Level, Machine, PhysMem, Pte, PteBits, PteCodec, PteView};

impl<'m, M: Machine> PageTable<'m, M> {
    /// Splits the leaf at `va`, if it is larger than `level`, until one of `level` maps it.
    ///
    /// # Errors
    /// `Invalid`, `NoFrames`, `Corrupt`.
    pub fn split<F: TableFrames>(
        &self,
        va: VirtAddr,
        level: Level,
        gather: &mut Gather<'_, M, F>,
    ) -> Result<(), PtError> {
        let fail = |why| PtError { at: va, why };
        loop {
            let entry = self.lookup(va).ok_or(fail(Why::Invalid))?;
            if entry.level <= level || entry.slot.load().is_none() {
                return Ok(());
            }
            let start = VirtAddr::truncate(va.get() & !(entry.level.size() - 1));
            let range = PageRange::new(start, entry.level.pages()).ok_or(fail(Why::Invalid))?;
            self.split_leaf(entry.level, entry.slot, range, gather).map_err(fail)?;
        }
    }

    /// Replaces the leaf of [`Level::PMD`] in `slot`, which covers `range`, by a table, if it still maps what `old` says;
    /// whether it does. Others may change the entry at the same time.
    ///
    /// # Errors
    /// `NoFrames`.
    pub fn split_same<F: TableFrames>(
        &self,
        slot: PteSlot<'m>,
        range: PageRange,
        old: Pte,
        gather: &mut Gather<'_, M, F>,
    ) -> Result<bool, PtError> {
        let same = |now| Codec::<M>::is_huge(now) && Codec::<M>::addr(now) == Codec::<M>::addr(old);
        let fail = |why| PtError { at: range.start(), why };
        let pfn = gather.frames().alloc_table().ok_or(fail(Why::NoFrames))?;
        let linked = self.fill_and_link(Level::PTE, slot, pfn, same).is_some();
        if linked {
            if !planted("vm::flush.split") {
                gather.add_split(range, Level::PMD);
            }
        } else {
            self.give_back(pfn, gather);
        }
        Ok(linked)
    }

    /// Gives back a table that was filled and not linked.
    fn give_back<F: TableFrames>(&self, pfn: Pfn, gather: &Gather<'_, M, F>) {
        // SAFETY: the frame is fresh from `alloc_table` and was not linked.
        unsafe {
            self.machine.physmem().zero(pfn);
            gather.frames().free_table(pfn);
        }
    }

    /// Replaces the leaf in `slot` of `level`, which covers `range`, by a table; gives the table.
    #[cold]
    pub(super) fn split_leaf<F: TableFrames>(
        &self,
        level: Level,
        slot: PteSlot<'m>,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
    ) -> Result<(Level, Table<'m>), Why> {
        let below = level.down().ok_or(Why::Corrupt)?;
        let pfn = gather.frames().alloc_table().ok_or(Why::NoFrames)?;
        let filled = self.fill_and_link(below, slot, pfn, Codec::<M>::is_huge);
        if filled.is_some() {
            gather.add_split(range, level);
        } else {
            self.give_back(pfn, gather);
        }
        Ok((below, filled.ok_or(Why::Corrupt)?))
    }

    /// Fills the fresh frame `pfn` with what the leaf in `slot` says, and puts it in the leaf's place. `None`
    /// if the entry is not, or no longer, a leaf that is `wanted`, or nobody could have made it.
    fn fill_and_link(
        &self,
        below: Level,
        slot: PteSlot<'m>,
        pfn: Pfn,
        wanted: impl Fn(Pte) -> bool,
    ) -> Option<Table<'m>> {
        // SAFETY: the frame was just allocated to be this table; from here on it is used by atomics only.
        let table = unsafe { Table::at(self.machine.physmem(), pfn.addr())? };
        let link = Codec::<M>::present(pfn.addr(), Codec::<M>::TABLE_BITS);
        let mut leaf = slot.load();
        loop {
            let corrupt = matches!(Codec::<M>::view(leaf), PteView::Bad { .. });
            if !wanted(leaf) || corrupt {
                return None;
            }
            fill::<Codec<M>>(table, below, leaf);
            match slot.compare_exchange(leaf, link) {
                Ok(()) => return Some(table),
                Err(now) => leaf = now,
            }
        }
    }
}

/// Fills `table` of `level` with the parts of the leaf above it.
fn fill<C: PteCodec>(table: Table<'_>, level: Level, leaf: Pte) {
    let first = if level == Level::PTE { C::with_bits(leaf, C::bits(leaf) - PteBits::HUGE) } else { leaf };
    let mut pages = 0;
    for slot in table.slots() {
        slot.set(C::advance(first, pages));
        pages += level.pages();
    }
}
