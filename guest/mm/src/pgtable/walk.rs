//! Reading a translation: the software walk.
//!
//! Takes no lock and changes nothing, A and D included.

use super::slot::{PteSlot, Table};
use super::{Codec, PageTable};
use crate::addr::{PhysAddr, VirtAddr};
use crate::port::{Level, Machine, Mmu, Pte, PteBits, PteCodec, PteView};
use core::fmt;
use core::marker::PhantomData;

/// One entry that a walk has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The level of the table it stands in.
    pub level: Level,
    /// Its place in the table, below [`Level::ENTRIES`].
    pub index: usize,
    /// What it says.
    pub pte: Pte,
}

/// All entries that a walk has read, from the root to where it ended.
#[derive(Clone, Copy, Debug)]
pub struct Walk<C> {
    va: VirtAddr,
    root: Level,
    max_leaf: Level,
    steps: [Step; Level::MAX],
    len: usize,
    codec: PhantomData<C>,
}

/// The entry that decides about an address.
#[derive(Clone, Copy)]
pub struct Entry<'m> {
    /// Its level: how much it maps, or could.
    pub level: Level,
    /// Its place in memory.
    pub slot: PteSlot<'m>,
}

/// The rights that every entry on the way must grant, and the one that none may take.
const GRANTED: PteBits = PteBits::WRITE.union(PteBits::USER);

/// Whether the MMU would translate through `pte`, found at `level` where a walk ended: present, of a size
/// that it knows, and aligned to that.
#[inline]
fn is_leaf<C: PteCodec>(pte: Pte, level: Level, max_leaf: Level) -> bool {
    let large = level <= max_leaf && C::is_huge(pte) && C::addr(pte).get() & (level.size() - 1) == 0;
    C::is_present(pte) && (level == Level::PTE || large)
}

/// Where `va` is that the leaf `pte` of `level` maps.
#[inline]
fn target<C: PteCodec>(pte: Pte, level: Level, va: VirtAddr) -> PhysAddr {
    PhysAddr::truncate(C::addr(pte).get() | (va.get() & (level.size() - 1)))
}

impl<C: PteCodec> Walk<C> {
    /// The entries, root first. At least one.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        self.steps.get(..self.len).unwrap_or(&[])
    }

    /// The last entry: a leaf, or what stopped the walk.
    #[must_use]
    pub fn last(&self) -> Option<&Step> {
        self.steps().last()
    }

    /// The leaf, if the MMU would translate through it.
    #[must_use]
    pub fn leaf(&self) -> Option<&Step> {
        self.last().filter(|step| is_leaf::<C>(step.pte, step.level, self.max_leaf))
    }

    /// Where the address is, if it translates.
    #[must_use]
    pub fn translate(&self) -> Option<PhysAddr> {
        let leaf = self.leaf()?;
        Some(target::<C>(leaf.pte, leaf.level, self.va))
    }

    /// What the leaf says, with WRITE and USER only if all entries on the way grant them, NO_EXEC if any has
    /// it.
    #[must_use]
    pub fn rights(&self) -> Option<PteBits> {
        let leaf = C::bits(self.leaf()?.pte);
        let all = self.steps().iter().map(|step| C::bits(step.pte));
        Some(all.fold(leaf, |sum, bits| (sum - (GRANTED - bits)) | (bits & PteBits::NO_EXEC)))
    }
}

impl<C: PteCodec> fmt::Display for Walk<C> {
    /// One line per entry, root first: `PGD[273] = 0x1067`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.steps() {
            writeln!(f, "{}[{}] = {:#x}", step.level.name(self.root), step.index, step.pte.raw())?;
        }
        Ok(())
    }
}

impl<'m, M: Machine> PageTable<'m, M> {
    /// Every entry on the way to `va`; `None` if the address is not canonical here.
    #[must_use]
    pub fn walk(&self, va: VirtAddr) -> Option<Walk<Codec<M>>> {
        let root = self.root_level();
        let none = Step { level: root, index: 0, pte: Pte::NONE };
        let max_leaf = self.machine.mmu().max_leaf();
        let mut walk = Walk { va, root, max_leaf, steps: [none; Level::MAX], len: 0, codec: PhantomData };
        self.descend(va, |level, slot| {
            let pte = slot.load();
            if let Some(step) = walk.steps.get_mut(walk.len) {
                *step = Step { level, index: level.index(va), pte };
                walk.len += 1;
            }
            pte
        })?;
        Some(walk)
    }

    /// Where `va` is; `None` if it does not translate.
    #[must_use]
    pub fn translate(&self, va: VirtAddr) -> Option<PhysAddr> {
        let Entry { level, slot } = self.lookup(va)?;
        let pte = slot.load();
        let leaf = is_leaf::<Codec<M>>(pte, level, self.machine.mmu().max_leaf());
        leaf.then(|| target::<Codec<M>>(pte, level, va))
    }

    /// What is at `va`: the view of the deepest entry.
    #[must_use]
    pub fn view(&self, va: VirtAddr) -> Option<PteView> {
        Some(Codec::<M>::view(self.lookup(va)?.slot.load()))
    }

    /// The deepest entry for `va`: a leaf, or one that is not present; `None` if the address is not
    /// canonical.
    #[inline]
    #[must_use]
    pub fn lookup(&self, va: VirtAddr) -> Option<Entry<'m>> {
        let mut entry = None;
        self.descend(va, |level, slot| {
            entry = Some(Entry { level, slot });
            slot.load()
        })?;
        entry
    }

    /// Goes down from the root as far as there are tables; `see` loads each entry on the way.
    #[inline]
    fn descend(&self, va: VirtAddr, mut see: impl FnMut(Level, PteSlot<'m>) -> Pte) -> Option<()> {
        let mut level = self.root_level();
        if !va.is_canonical(level.get()) {
            return None;
        }
        let mut table: Table<'m> = self.root_table()?;
        loop {
            let pte = see(level, table.slot(level.index(va)));
            match self.child(level, pte) {
                Some((below, child)) => (level, table) = (below, child),
                None => return Some(()),
            }
        }
    }
}
