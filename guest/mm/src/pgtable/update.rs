//! Changing entries in place: rights, parking and unparking, clearing A and D.

use super::slot::PteSlot;
use super::sweep::LeafOp;
use super::{Codec, Gather, PageRange, PageTable, PtError, TableFrames};
use crate::addr::VirtAddr;
use crate::port::{Level, Machine, PteBits, PteCodec, PteView};

/// Rights of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Every access faults; the mapping is kept as prot-none.
    None,
    /// Reads, and what these bits say: those of WRITE, USER and NO_EXEC; others do not count.
    Of(PteBits),
}

/// The bits that are rights.
const RIGHTS: PteBits = PteBits::WRITE.union(PteBits::USER).union(PteBits::NO_EXEC);

impl Rights {
    /// `view` with these rights. What has none (none, swap, poisoned) stays as it is.
    #[must_use]
    pub fn apply(self, view: PteView) -> PteView {
        let of = |bits: PteBits, rights: PteBits| (bits - RIGHTS) | (rights & RIGHTS);
        match (view, self) {
            (PteView::Present { addr, bits }, Self::None) => {
                PteView::ProtNone { addr, bits: bits - PteBits::PRESENT }
            }
            (PteView::Present { addr, bits } | PteView::ProtNone { addr, bits }, Self::Of(rights)) => {
                PteView::Present { addr, bits: of(bits, rights) | PteBits::PRESENT }
            }
            (PteView::Migration { addr, bits }, Self::Of(rights)) => {
                PteView::Migration { addr, bits: of(bits, rights) }
            }
            (other, _) => other,
        }
    }
}

/// Changes entries by a function of views.
struct Change<C>(C);

/// `view` as an entry of `level` must say it: large leaves have their bit, the smallest do not.
fn at_level(view: PteView, level: Level) -> PteView {
    let fix = |mut bits: PteBits| {
        bits.set(PteBits::HUGE, level != Level::PTE);
        bits
    };
    match view {
        PteView::Present { addr, bits } => PteView::Present { addr, bits: fix(bits) },
        PteView::ProtNone { addr, bits } => PteView::ProtNone { addr, bits: fix(bits) },
        PteView::Migration { addr, bits } => PteView::Migration { addr, bits: fix(bits) },
        PteView::Swap { entry, bits } => PteView::Swap { entry, bits: fix(bits) },
        PteView::None | PteView::Poisoned { .. } | PteView::Bad { .. } => view,
    }
}

impl<C: FnMut(VirtAddr, Level, PteView) -> PteView> LeafOp for Change<C> {
    const PRUNES: bool = false;

    #[inline]
    fn leaf<M: Machine, F: TableFrames>(
        &mut self,
        slot: PteSlot<'_>,
        level: Level,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
    ) {
        let (old, new) = slot.update(|pte| {
            let view = (self.0)(range.start(), level, Codec::<M>::view(pte));
            Codec::<M>::encode(at_level(view, level))
        });
        gather.changed(range, old, new);
    }
}

impl<M: Machine> PageTable<'_, M> {
    /// Makes every leaf in `range`, parked ones included, what `change` makes of it: of its first address,
    /// its level and its view. Leaves that reach beyond the range are split first.
    ///
    /// A and D that the MMU sets meanwhile are not lost: `change` is asked again. CPUs may go by what an
    /// entry was until `gather` is finished.
    ///
    /// # Errors
    /// `Invalid`, `NoFrames` (for a split), `Corrupt`.
    pub fn update<F: TableFrames>(
        &self,
        range: PageRange,
        gather: &mut Gather<'_, M, F>,
        change: impl FnMut(VirtAddr, Level, PteView) -> PteView,
    ) -> Result<(), PtError> {
        self.sweep(range, gather, &mut Change(change))
    }

    /// Gives everything mapped in `range` the same `rights` (Linux `set_memory_ro` and its kin). A caller for
    /// whom the right of an entry depends on its frame (copy on write) uses [`PageTable::update`].
    ///
    /// # Errors
    /// As [`PageTable::update`].
    pub fn protect<F: TableFrames>(
        &self,
        range: PageRange,
        rights: Rights,
        gather: &mut Gather<'_, M, F>,
    ) -> Result<(), PtError> {
        self.update(range, gather, |_, _, view| rights.apply(view))
    }
}
