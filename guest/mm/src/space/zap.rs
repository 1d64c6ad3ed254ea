//! Emptying entries: what was mapped goes back after the flush (Linux `zap_page_range_single`, `unmap_vmas`).
//!
//! Works under either lock. Invariants: no leaf reaches beyond the range, for the caller has split those that did
//! ([`split`](super::split)); counters fall when the entry does, references only after the flush.

use super::gather::{Counted, Unmapped};
use super::{Codec, Errno, Mm, MmTables, Vm};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::mutant::planted;
use crate::pgtable::{Gather, PageRange, PteSlot};
use crate::phys::{FrameAllocator, FreeError};
use crate::port::{Level, Machine, Pte, PteBits, PteCodec, PteView};
use crate::vmstat::NodeStat;

/// Whether tables that are empty afterwards go, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tables {
    /// They stay: others may be using them.
    Keep,
    /// Those that this range covers whole are unlinked. For the holder of the write lock; nothing else is mapped there.
    Prune(PageRange),
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Empties every entry in `range`.
    ///
    /// # Errors
    /// `Ecorrupt`.
    pub(super) fn zap<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        range: PageRange,
        tables: Tables,
        frames: &A,
    ) -> Result<(), Errno> {
        let source = MmTables::new(self, mm, frames);
        let table = self.frame_table().ok_or(Errno::Ecorrupt)?;
        let (tree, mut rest, mut unmapped) = (mm.tree(), Some(range), Unmapped::new(table));
        while let Some(part) = rest {
            let mut gather = tree.gather_on(&source, &mm.cpus);
            let zapped = tree.scan_while(part, |slot, level, at| {
                self.zap_entry(slot, level, at, &mut gather, &mut unmapped)
            });
            let done = zapped.unwrap_or(part.pages());
            rest = part.part(done, part.pages() - done).filter(|rest| rest.pages() != 0);
            if let (None, Tables::Prune(room)) = (rest, tables) {
                tree.prune(room, &mut gather)?;
            }
            if planted("vm::flush.pages_go_first") {
                unmapped.release(self, mm);
            }
            let _ = gather.finish();
            unmapped.release(self, mm);
            zapped?;
        }
        Ok(())
    }

    /// Empties one entry; whether there is room for another.
    #[inline(always)]
    pub(super) fn zap_entry<F: crate::pgtable::TableFrames>(
        &self,
        slot: PteSlot<'_>,
        level: Level,
        at: PageRange,
        gather: &mut Gather<'_, M, F>,
        unmapped: &mut Unmapped<'_>,
    ) -> bool {
        let old = slot.take();
        if !planted("vm::flush.zap") {
            gather.changed(at, old, Pte::NONE);
        }
        match Codec::<M>::view(old) {
            PteView::Present { .. } => self.drop_entry(old, level, unmapped),
            _ => self.zap_absent(old, level, unmapped),
        }
    }

    /// As [`Vm::zap_entry`], of an entry that was taken and was not present.
    #[inline(never)]
    fn zap_absent(&self, old: Pte, level: Level, unmapped: &mut Unmapped<'_>) -> bool {
        match Codec::<M>::view(old) {
            PteView::ProtNone { .. } => self.drop_entry(old, level, unmapped),
            PteView::Swap { entry, .. } => {
                if self.swap().free(entry).is_err() {
                    self.corrupt(&"an entry that names a free slot of swap");
                }
                unmapped.swapped();
                true
            }
            _ => true,
        }
    }

    /// The entry `old` of `level`, which mapped a page, is gone (Linux `folio_remove_rmap_pte`, `_pmd`). The reference
    /// stays until the flush. Whether there is room for another.
    #[inline(always)]
    fn drop_entry(&self, old: Pte, level: Level, unmapped: &mut Unmapped<'_>) -> bool {
        if Codec::<M>::has(old, PteBits::SPECIAL) {
            // A page of zeroes.
            return true;
        }
        let pfn = Codec::<M>::addr(old).pfn();
        let Some((folio, node)) = Folio::with_node(unmapped.table(), pfn) else {
            self.corrupt(&FreeError::NotOwned(pfn));
            return true;
        };
        // Pages of pools are larger.
        if level == Level::PTE && matches!(folio.mapping(), Mapping::Anon(_)) {
            if !planted("vm::rmap.entry_stays_counted") && folio.sub_mapped(1) {
                unmapped.idle(self, node, folio.order().pages());
            }
            return unmapped.push(folio, 1, Counted::Anon);
        }
        self.drop_other(folio, old, level, unmapped)
    }

    /// As [`Vm::drop_entry`], of what is not a small page of anonymous memory.
    #[inline(never)]
    fn drop_other(&self, folio: Folio<'_>, old: Pte, level: Level, unmapped: &mut Unmapped<'_>) -> bool {
        let counted = match folio.mapping() {
            _ if folio.flags().contains(FolioFlags::HUGETLB) => {
                folio.sub_mapped(1);
                Counted::Hugetlb
            }
            Mapping::Space(_) => Counted::Shmem,
            Mapping::File(_) => Counted::File,
            Mapping::Anon(_) | Mapping::None => {
                self.drop_anon_rmap(folio, level);
                Counted::Anon
            }
        };
        if matches!(counted, Counted::Shmem | Counted::File) {
            self.drop_file_rmap(folio);
        }
        let has_room = unmapped.push(folio, level.pages(), counted);
        if counted == Counted::File && Codec::<M>::has(old, PteBits::DIRTY) {
            unmapped.was_dirty();
        }
        has_room
    }

    /// One entry that mapped a folio of shared memory or of a file is gone.
    #[inline]
    pub(crate) fn drop_file_rmap(&self, folio: Folio<'_>) {
        if folio.sub_mapped(1) {
            self.stat().shrink(self.machine().cpu(), folio.node(), NodeStat::FileMapped, 1);
        }
    }

    /// One entry of `level` that mapped an anonymous folio is gone.
    #[inline]
    pub(crate) fn drop_anon_rmap(&self, folio: Folio<'_>, level: Level) {
        let (cpu, stat) = (self.machine().cpu(), self.stat());
        if level != Level::PTE && folio.sub_entire() {
            stat.shrink(cpu, folio.node(), NodeStat::AnonThps, level.pages());
        }
        if planted("vm::rmap.other_entry_stays_counted") {
            return;
        }
        if folio.sub_mapped(1) {
            stat.shrink(cpu, folio.node(), NodeStat::AnonMapped, folio.order().pages());
        }
    }

    /// As [`Vm::add_rmap`], of a folio that another entry maps and keeps mapping meanwhile (Linux
    /// `folio_try_dup_anon_rmap_ptes`).
    #[inline]
    pub(super) fn share_rmap(&self, folio: Folio<'_>, level: Level) -> Counted {
        folio.add_mapped(1);
        if folio.flags().contains(FolioFlags::HUGETLB) {
            return Counted::Hugetlb;
        }
        if let Mapping::File(_) = folio.mapping() {
            return Counted::File;
        }
        if level != Level::PTE {
            folio.add_entire();
        }
        Counted::Anon
    }

    /// One entry of `level` more maps `folio` (Linux `folio_add_anon_rmap_ptes`, `_pmd`). The reference is the
    /// caller's.
    #[inline]
    pub(crate) fn add_rmap(&self, folio: Folio<'_>, level: Level) {
        if folio.flags().contains(FolioFlags::HUGETLB) {
            folio.add_mapped(1);
            return;
        }
        let (cpu, stat) = (self.machine().cpu(), self.stat());
        if level != Level::PTE && folio.add_entire() {
            stat.grow(cpu, folio.node(), NodeStat::AnonThps, level.pages());
        }
        if folio.add_mapped(1) {
            stat.grow(cpu, folio.node(), NodeStat::AnonMapped, folio.order().pages());
        }
    }
}
