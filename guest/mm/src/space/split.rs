//! Dividing the entry of a huge page, so that a border of a range does not cut it (Linux `__split_huge_pmd`).
//!
//! Works under either lock of the context. The folio stays whole; from then on 512 entries map it. The table is asked for before anything changes, so that a call that cannot have it does nothing;
//! Linux sets one aside with every huge page instead, 4 KiB for each 2 MiB that is never divided.

use super::{Codec, Errno, Mm, MmTables, Vm};
use crate::folio::Folio;
use crate::pgtable::PageRange;
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, PteBits, PteCodec, PteView};
use crate::vmstat::{NodeStat, VmEvent};

impl<'p, M: Machine> Vm<'p, M> {
    /// Divides the huge pages that reach across the first and the last border of `range`.
    ///
    /// # Errors
    /// `Enomem`, `Ecorrupt`.
    pub(super) fn split_borders<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        range: PageRange,
        frames: &A,
    ) -> Result<(), Errno> {
        let first = range.start().vpn().get();
        for border in [first, first + range.pages()] {
            if border % Level::PMD.pages() != 0 {
                self.split_huge(mm, border, frames)?;
            }
        }
        Ok(())
    }

    /// Divides the huge page that page `vpn` lies in, if it does.
    ///
    /// # Errors
    /// `Enomem`, `Ecorrupt`.
    pub(crate) fn split_huge<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        vpn: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        let pages = Level::PMD.pages();
        let start = crate::addr::VirtAddr::truncate((vpn & !(pages - 1)) << crate::addr::PAGE_SHIFT);
        let (tree, source) = (mm.tree(), MmTables::new(self, mm, frames));
        let range = PageRange::new(start, pages).ok_or(Errno::Einval)?;
        let Some(entry) = tree.lookup(start) else { return Err(Errno::Einval) };
        if entry.level != Level::PMD || !Codec::<M>::is_huge(entry.slot.load()) {
            return Ok(());
        }
        let mut gather = tree.gather_on(&source, &mm.cpus);
        let locked = self.lock_table(entry.slot);
        let old = entry.slot.load();
        // Before the entries are there: whoever unmaps one of them must find its count.
        let folio = self.folio_of(old).inspect(|folio| {
            folio.get(pages as u32 - 1);
            folio.add_mapped(pages - 1);
        });
        let split = tree.split_same(entry.slot, range, old, &mut gather);
        let is_split = *split.as_ref().unwrap_or(&false);
        match folio {
            Some(folio) if is_split => {
                let is_last = folio.sub_entire();
                self.count_thp(folio, is_last, pages);
            }
            Some(folio) => {
                // The entry stays, and with it one of each.
                folio.sub_mapped(pages - 1);
                let _ = folio.put(pages as u32 - 1);
            }
            None => {}
        }
        drop(locked);
        let _ = gather.finish();
        if split? {
            self.stat().count(self.machine().cpu(), VmEvent::ThpSplitPmd, 1);
        }
        Ok(())
    }

    /// Counts a huge page that no entry maps as a whole any more.
    fn count_thp(&self, folio: Folio<'_>, is_last: bool, pages: u64) {
        if is_last {
            self.stat().shrink(self.machine().cpu(), folio.node(), NodeStat::AnonThps, pages);
        }
    }

    /// The folio that an entry maps; none for pages of zeroes and entries that map nothing.
    #[inline]
    pub(crate) fn folio_of(&self, pte: crate::port::Pte) -> Option<Folio<'p>> {
        if Codec::<M>::has(pte, PteBits::SPECIAL) {
            return None;
        }
        if Codec::<M>::is_present(pte) {
            return Folio::of(self.frame_table()?, Codec::<M>::addr(pte).pfn());
        }
        match Codec::<M>::view(pte) {
            PteView::ProtNone { addr, .. } => Folio::of(self.frame_table()?, addr.pfn()),
            _ => None,
        }
    }
}
