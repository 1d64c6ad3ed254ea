//! Advice about pages that are there (Linux `madvise_cold`, `madvise_free_single_vma`).
//!
//! Owns: going over the pages of areas, a few at a time under the read lock, and what becomes of pages that are cold or
//! free. Stays outside: reclaim at once (`reclaim`). Invariants: a dirty bit that was cleared says nothing until CPUs have
//! forgotten that it was set, so a page may go without being written only after the flush; pages that others need, too, stay
//! what they are.

use super::unmap::{checked, pages_of};
use super::{Codec, Errno, Mm, MmTables, Rss, Vm};
use crate::addr::{Order, VirtAddr};
use crate::folio::{Folio, FolioFlags};
use crate::lru::Taken;
use crate::mutant::planted;
use crate::pgtable::{Gather, PageRange, PteSlot, TableFrames};
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, Pte, PteBits, PteCodec, PteView};
use crate::vma::{Backing, VmFlags, Vma};

/// Pages that are looked at under one lock, at most.
const STEP: u64 = 512;
/// Pages that become free ones between two flushes.
const BATCH: usize = 32;

/// How far a call has come, and whether all was mapped so far.
pub(crate) struct Walk {
    at: u64,
    end: u64,
    is_covered: bool,
}

impl Walk {
    /// Of `len` bytes from `addr` on.
    ///
    /// # Errors
    /// `Einval` for a bad range.
    pub(crate) fn new(addr: VirtAddr, len: u64) -> Result<Self, Errno> {
        let (at, end) = if len == 0 && addr.page_offset() == 0 { (0, 0) } else { checked(addr, len)? };
        Ok(Self { at, end, is_covered: true })
    }

    /// What the call ends with.
    ///
    /// # Errors
    /// `Enomem` where nothing was mapped; what was has been advised all the same.
    pub(crate) fn outcome(&self) -> Result<(), Errno> {
        if self.is_covered { Ok(()) } else { Err(Errno::Enomem) }
    }
}

/// Whether reclaim may have pages of an area (Linux `can_madv_lru_vma`).
pub(crate) fn may_be_reclaimed(vma: &Vma) -> bool {
    !vma.flags().intersects(VmFlags::LOCKED | VmFlags::HUGETLB)
}

/// Whether pages of an area can be free ones (Linux `madvise_dontneed_free_valid_vma`, `vma_is_anonymous`).
fn may_be_free(vma: &Vma) -> bool {
    may_be_reclaimed(vma) && vma.backing() == Backing::Anon
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Shows the next pages of an area that is fit for it, under the read lock; `visit` says how many it has done. False at
    /// the end.
    ///
    /// # Errors
    /// `Einval` for an area that is not fit; those of `visit`.
    pub(crate) fn step(
        &self,
        mm: &Mm<'p, M>,
        walk: &mut Walk,
        is_fit: impl Fn(&Vma) -> bool,
        visit: impl FnOnce(PageRange) -> Result<u64, Errno>,
    ) -> Result<bool, Errno> {
        let areas = mm.areas.read(self.machine().cpu());
        if walk.at >= walk.end {
            return Ok(false);
        }
        let Some(vma) = areas.next_from(walk.at).filter(|vma| vma.start() < walk.end) else {
            walk.is_covered = false;
            return Ok(false);
        };
        let first = vma.start().max(walk.at);
        walk.is_covered &= first == walk.at;
        if !is_fit(vma) {
            return Err(Errno::Einval);
        }
        let end = vma.end().min(walk.end).min(first + STEP);
        walk.at = first + visit(pages_of(first, end)?)?;
        Ok(true)
    }

    /// What these pages hold is not needed: those that nobody writes to from now on may go without being written (Linux
    /// `MADV_FREE`).
    pub(super) fn free_lazily<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        mut walk: Walk,
        frames: &A,
    ) -> Result<(), Errno> {
        self.drain_lists();
        self.split_pages(mm, &walk, frames)?;
        while self.step(mm, &mut walk, may_be_free, |part| self.free_part(mm, part, frames))? {}
        walk.outcome()
    }

    fn free_part<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        part: PageRange,
        frames: &A,
    ) -> Result<u64, Errno> {
        let source = MmTables::new(self, mm, frames);
        let mut gather = mm.tree().gather_on(&source, &mm.cpus);
        let (mut list, mut len) = ([None; BATCH], 0);
        let done = mm.tree().scan_while(part, |slot, level, at| {
            if let Some(folio) = self.clean_entry(mm, slot, (level, at), &mut gather)
                && let Some(place) = list.get_mut(len)
            {
                *place = Some(folio);
                len += 1;
            }
            len < BATCH
        });
        let _ = gather.finish();
        let cpu = self.machine().cpu();
        for folio in list.into_iter().flatten() {
            if folio.try_lock() {
                self.lru().mark_lazyfree(cpu, folio);
                folio.unlock(cpu);
            }
            self.swap().put(folio);
        }
        Ok(done?)
    }

    /// Makes an entry that of a page which nobody has written to or used, with a reference; one that names a slot of swap
    /// goes.
    fn clean_entry<F: TableFrames>(
        &self,
        mm: &Mm<'p, M>,
        slot: PteSlot<'p>,
        (level, at): (Level, PageRange),
        gather: &mut Gather<'_, M, F>,
    ) -> Option<Folio<'p>> {
        let _locked = self.lock_table(slot);
        let entry = slot.load();
        if let PteView::Swap { entry, .. } = Codec::<M>::view(entry) {
            slot.set(Pte::NONE);
            if self.swap().free(entry).is_err() {
                self.corrupt(&"an entry that names a free slot of swap");
            }
            mm.counters.sub_rss(Rss::Swap, 1);
            return None;
        }
        let folio = self.folio_of(entry).filter(|_| Codec::<M>::is_present(entry) && level == Level::PTE)?;
        if folio.order() != Order::ZERO || !self.disown(folio) {
            return None;
        }
        let was_used = PteBits::ACCESSED | PteBits::DIRTY;
        let (old, new) = slot.update(|pte| Codec::<M>::with_bits(pte, Codec::<M>::bits(pte) - was_used));
        if !planted("vm::advice.unflushed") {
            gather.changed(at, old, new);
        }
        folio.get(1);
        Some(folio)
    }

    /// Forgets that what a page holds has to be written somewhere, if no other entry needs that; whether it need not be.
    fn disown(&self, folio: Folio<'p>) -> bool {
        if !folio.flags().intersects(FolioFlags::SWAPCACHE | FolioFlags::DIRTY) {
            return true;
        }
        if !folio.try_lock() {
            return false;
        }
        let is_cached = folio.flags().contains(FolioFlags::SWAPCACHE);
        let is_alone = folio.mapcount() == 1 || planted("vm::advice.others_lose");
        let is_ours = is_alone && (!is_cached || self.swap().try_remove(folio));
        if is_ours {
            folio.clear_flags(FolioFlags::DIRTY);
        }
        folio.unlock(self.machine().cpu());
        is_ours
    }

    /// These pages are not needed soon: they are the next that reclaim looks at (Linux `MADV_COLD`).
    pub(super) fn cool<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        mut walk: Walk,
        frames: &A,
    ) -> Result<(), Errno> {
        self.drain_lists();
        let source = MmTables::new(self, mm, frames);
        let visit = |part| {
            let mut gather = mm.tree().gather_on(&source, &mm.cpus);
            let scanned = mm.tree().scan(part, |slot, level, at| {
                let _locked = self.lock_table(slot);
                let Some(folio) = self.sole_folio(slot.load(), level, at) else { return };
                slot.update(|pte| Codec::<M>::with_bits(pte, Codec::<M>::bits(pte) - PteBits::ACCESSED));
                // Or CPUs that have it cached would use it unseen.
                gather.add(at);
                folio.clear_flags(FolioFlags::REFERENCED);
                self.lru().deactivate(self.machine().cpu(), folio);
            });
            let _ = gather.finish();
            scanned?;
            Ok(part.pages())
        };
        while self.step(mm, &mut walk, may_be_reclaimed, visit)? {}
        walk.outcome()
    }

    /// The folio of an entry of `level`, if the part of the range that it maps is all of it and no other entry does.
    fn sole_folio(&self, entry: Pte, level: Level, at: PageRange) -> Option<Folio<'p>> {
        let folio = self.folio_of(entry).filter(|_| Codec::<M>::is_present(entry))?;
        let is_whole = at.pages() == level.pages() && folio.order().pages() == level.pages();
        (is_whole && folio.mapcount() == 1).then_some(folio)
    }

    /// Makes single pages of the huge pages that a walk comes to, so far as nobody is busy with them; how many.
    ///
    /// # Errors
    /// `Ecorrupt`.
    pub(crate) fn split_pages<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        walk: &Walk,
        frames: &A,
    ) -> Result<u64, Errno> {
        let (mut from, mut split) = (walk.at, 0);
        while from < walk.end {
            let mut huge = None;
            let areas = mm.areas.read(self.machine().cpu());
            from += mm.tree().scan_while(pages_of(from, walk.end)?, |slot, _, _| {
                let _locked = self.lock_table(slot);
                let is_huge = |folio: &Folio<'p>| folio.order() == Order::PAGEBLOCK;
                huge = self.folio_of(slot.load()).filter(is_huge);
                huge.inspect(|folio| folio.get(1)).is_none()
            })?;
            drop(areas);
            let Some(folio) = huge else { break };
            if folio.try_lock() {
                split += u64::from(self.split_listed(folio, frames));
                folio.unlock(self.machine().cpu());
            }
            self.swap().put(folio);
        }
        Ok(split)
    }

    /// Takes pages that entries of `part` map, and with `alone` no others, off their lists, until `taken` is full, and those that are in memory only
    /// because they were on their way to swap; how far it came (Linux `madvise_cold_or_pageout_pte_range`).
    pub(crate) fn isolate(
        &self,
        mm: &Mm<'p, M>,
        part: PageRange,
        alone: bool,
        taken: &mut Taken<'p>,
    ) -> Result<u64, Errno> {
        let done = mm.tree().scan_while(part, |slot, _, _| {
            let _locked = self.lock_table(slot);
            let entry = slot.load();
            let folio = match Codec::<M>::view(entry) {
                PteView::Swap { entry, .. } => self.swap().lookup(entry),
                _ => self.folio_of(entry).inspect(|folio| folio.get(1)),
            };
            let Some(folio) = folio else { return true };
            if folio.order() != Order::ZERO || alone && folio.mapcount() > 1 {
                self.swap().put(folio);
                return true;
            }
            folio.clear_flags(FolioFlags::REFERENCED);
            let has_room = self.lru().take_one(self.machine().cpu(), folio, taken);
            self.swap().put(folio);
            has_room
        });
        Ok(done?)
    }

    /// Puts what this CPU has collected on its lists.
    pub(crate) fn drain_lists(&self) {
        if let Some(table) = self.frame_table() {
            self.lru().drain(self.machine().cpu(), table);
        }
    }
}
