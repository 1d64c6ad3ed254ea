//! Counting: leaves per size, tables, and tables that a mapping would add.

use super::slot::Table;
use super::{Codec, PageRange, PageTable};
use crate::addr::VirtAddr;
use crate::port::{Level, Machine, PteCodec};

/// How many leaves there are of each size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leaves {
    /// Leaves of 4 KiB.
    pub pte: u64,
    /// Leaves of 2 MiB.
    pub pmd: u64,
    /// Leaves of 1 GiB.
    pub pud: u64,
}

impl Leaves {
    #[inline]
    pub(super) fn add(&mut self, level: Level, leaves: u64) {
        match level {
            Level::PTE => self.pte += leaves,
            Level::PMD => self.pmd += leaves,
            _ => self.pud += leaves,
        }
    }

    /// How many base pages they map.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pte + self.pmd * Level::PMD.pages() + self.pud * Level::PUD.pages()
    }
}

/// What a range of a tree holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Present leaves.
    pub leaves: Leaves,
    /// Entries that keep something without translating: prot-none, swap, migration, poisoned, and bad ones.
    pub parked: u64,
    /// Tables below the root that cover a part of the range.
    pub tables: u64,
}

/// `count` addresses, `step` bytes apart.
#[derive(Clone, Copy, Debug)]
pub struct Stride {
    /// The first address.
    pub start: VirtAddr,
    /// How many.
    pub count: u64,
    /// From one to the next; not 0.
    pub step: u64,
}

impl<'m, M: Machine> PageTable<'m, M> {
    /// What `range` holds; `None` if it is not canonical here or the tree is corrupt.
    #[must_use]
    pub fn census(&self, range: PageRange) -> Option<Census> {
        let root = self.root_level();
        let mut census = Census::default();
        if !range.fits(root) {
            return None;
        }
        self.count_table(self.root_table()?, root, range, &mut census)?;
        Some(census)
    }

    fn count_table(
        &self,
        table: Table<'m>,
        level: Level,
        range: PageRange,
        census: &mut Census,
    ) -> Option<()> {
        for (slot, part) in table.spans(level, range) {
            let pte = slot.load();
            if pte.is_none() {
                continue;
            }
            if !Codec::<M>::is_present(pte) {
                census.parked += 1;
            } else if level == Level::PTE || Codec::<M>::is_huge(pte) {
                census.leaves.add(level, 1);
            } else {
                census.tables += 1;
                let (below, child) = self.child(level, pte)?;
                self.count_table(child, below, part, census)?;
            }
        }
        Some(())
    }

    /// How many tables mapping a leaf of `level` at each of `addresses` would add, if nothing is in the way;
    /// `None` if they are not all canonical here.
    #[must_use]
    pub fn missing_tables(&self, addresses: Stride, level: Level) -> Option<u64> {
        let mut missing = 0;
        let mut before: Option<VirtAddr> = None;
        for i in 0..addresses.count {
            let va = addresses.start.checked_add(addresses.step.checked_mul(i)?)?;
            let mut have = self.lookup(va)?.level;
            // What the address before needs will be there as well.
            if let Some(before) = before {
                while have > level && before.get() >> have.shift() == va.get() >> have.shift() {
                    have = have.down()?;
                }
            }
            missing += u64::from(have.get().saturating_sub(level.get()));
            before = Some(va);
        }
        Some(missing)
    }
}
