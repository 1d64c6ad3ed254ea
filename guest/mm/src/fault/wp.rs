//! Writes to pages whose entry does not allow them, in areas that do (Linux `do_wp_page`).
//!
//! An anonymous page that is exclusive, or whose only reference is the entry's, is the area's alone: it is made
//! writable. Any other is copied, and so is a page of a file. The page of zeroes is replaced by a new page.

use super::{Flavour, GFP_PAGE, Stop, Touch};
use crate::addr::{Order, PAGE_SHIFT, VirtAddr};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::mutant::planted;
use crate::pgtable::PteSlot;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Level, Machine, PhysMem, Pte, PteBits, PteCodec, Tlb};
use crate::space::{Codec, Rss, TableGuard};
use crate::vma::VmFlags;
use crate::vmstat::VmEvent;

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// Makes the page of `entry`, which is in `slot`, writable, or replaces it.
    #[inline(always)]
    pub(super) fn write_protected(&self, slot: PteSlot<'p>, entry: Pte) -> Result<Flavour, Stop> {
        let locked = self.lock(slot);
        let now = slot.load();
        let is_same = Codec::<M>::is_present(now) && Codec::<M>::addr(entry) == Codec::<M>::addr(now);
        if !is_same || Codec::<M>::has(now, PteBits::WRITE) {
            return Err(Stop::Again);
        }
        if Codec::<M>::has(now, PteBits::SPECIAL) {
            drop(locked);
            return self.aside().copy(slot, now, None);
        }
        let folio = Folio::of(self.ground.table(), Codec::<M>::addr(now).pfn()).ok_or(Stop::Corrupt)?;
        let is_exclusive = Codec::<M>::has(now, PteBits::EXCLUSIVE);
        // What is exclusive keeps its slot, and is written there again.
        if !is_exclusive && folio.flags().contains(FolioFlags::SWAPCACHE) {
            self.aside().leave_swap(folio);
        }
        if is_exclusive || is_sole(folio) && is_anon(folio) {
            self.reuse(slot, &locked);
            return Ok(Flavour::Reuse);
        }
        // The page stays until it is copied, even if the other owner lets it go.
        folio.get(1);
        drop(locked);
        self.aside().copy(slot, now, Some(folio))
    }

    /// Takes the folio out of the swap cache, if that is the only other one that has it.
    #[cold]
    #[inline(never)]
    fn leave_swap(&self, folio: Folio<'p>) {
        if folio.refs() == 2 && folio.try_lock() {
            self.vm.swap().try_remove(folio);
            folio.unlock(self.vm.machine().cpu());
        }
    }

    /// More rights need no flush: who still goes by the old ones faults again and finds the new ones.
    #[inline(always)]
    fn reuse(&self, slot: PteSlot<'p>, locked: &TableGuard<'_, M::Cpu>) {
        let more = PteBits::WRITE | PteBits::DIRTY | PteBits::ACCESSED | PteBits::EXCLUSIVE;
        slot.update(|pte| Codec::<M>::set(pte, more));
        self.vm.stat().count_masked(self.vm.machine().cpu(), locked.masked(), VmEvent::PgReuse, 1);
    }

    /// Puts a copy of what `entry` maps into its place. `folio` is what it maps, with a reference of ours; none for the
    /// page of zeroes.
    #[inline(never)]
    fn copy(&self, slot: PteSlot<'p>, entry: Pte, folio: Option<Folio<'p>>) -> Result<Flavour, Stop> {
        let copied = self.copied(entry, folio.is_some());
        let result = copied.and_then(|copy| self.replace(slot, entry, copy, folio));
        if let Some(folio) = folio {
            self.put(folio);
        }
        result
    }

    /// A new folio with what `entry` maps.
    fn copied(&self, entry: Pte, has_content: bool) -> Result<Folio<'p>, Stop> {
        let anchor = self.anchor()?;
        let gfp = if has_content { GFP_PAGE } else { GFP_PAGE | GfpFlags::__GFP_ZERO };
        let pfn = self.frames.alloc_page(gfp)?;
        if has_content {
            // SAFETY: the new frame is ours. The old one is kept by our reference. Nobody writes an anonymous one: this entry
            // and all others that map it are not writable, for it is not exclusive. Of a page of a file, what others write
            // meanwhile may or may not be seen.
            unsafe { self.vm.machine().physmem().copy(Codec::<M>::addr(entry).pfn(), pfn) };
        }
        self.new_folio(pfn, self.vpn, anchor)
    }

    /// Exchanges what `slot` maps, if it still is `entry`.
    fn replace(
        &self,
        slot: PteSlot<'p>,
        entry: Pte,
        copy: Folio<'p>,
        folio: Option<Folio<'p>>,
    ) -> Result<Flavour, Stop> {
        let locked = self.lock(slot);
        let now = slot.load();
        let same = Codec::<M>::is_present(now) && Codec::<M>::addr(now) == Codec::<M>::addr(entry);
        if !same || Codec::<M>::has(now, PteBits::WRITE) {
            drop(locked);
            return self.lost(copy);
        }
        // No CPU may read the old page after another has written the new one.
        let _ = slot.take();
        let forgets = if folio.is_some() { planted("vm::flush.copy") } else { planted("vm::flush.zero") };
        if !forgets {
            self.flush_pages(self.vpn, 1);
        }
        match folio {
            Some(old) if is_anon(old) => {
                copy.map_first();
                self.vm.lru().add_anon(self.vm.machine().cpu(), locked.masked(), copy, 1);
            }
            _ => self.count_mapped(&locked, copy, Level::PTE),
        }
        if let Some(old) = folio
            && self.vma.flags().contains(VmFlags::LOCKED)
        {
            self.lock_instead(old, copy);
        }
        slot.set(self.exclusive_entry(copy.pfn(), Level::PTE));
        drop(locked);
        let cpu = self.vm.machine().cpu();
        match folio {
            Some(folio) => {
                if is_anon(folio) {
                    self.vm.drop_anon_rmap(folio, Level::PTE);
                    self.vm.free_swap_cache(folio);
                } else {
                    self.vm.drop_file_rmap(folio);
                    self.mm.counters().sub_rss(Rss::File, 1);
                }
                // The entry's reference; ours keeps it alive.
                let _ = folio.put(1);
                self.vm.stat().count(cpu, VmEvent::PgCow, 1);
                Ok(Flavour::Cow)
            }
            None => Ok(Flavour::Anon),
        }
    }

    /// The area has `copy` locked in memory now in the place of `old` (Linux `folio_remove_rmap_pte`,
    /// `folio_add_lru_vma`).
    #[cold]
    #[inline(never)]
    fn lock_instead(&self, old: Folio<'_>, copy: Folio<'_>) {
        if !planted("vm::locked.what_was_copied_stays_locked") {
            self.vm.count_mlocked(old, Level::PTE, false);
        }
        // In the place of a page of a file it was counted as a page that is mapped anew.
        if is_anon(old) {
            self.vm.count_mlocked(copy, Level::PTE, true);
        }
    }

    /// Makes all CPUs forget `pages` pages from page `first` on.
    pub(super) fn flush_pages(&self, first: u64, pages: u64) {
        let va = VirtAddr::truncate(first << PAGE_SHIFT);
        self.vm.machine().tlb().flush_range_on(self.mm.cpus(), va, pages);
    }

    /// Gives our reference back.
    fn put(&self, folio: Folio<'p>) {
        if folio.put(1) {
            self.vm.free_folio(folio);
        }
    }
}

/// Whether the entry that maps it is all that refers to the folio.
fn is_sole(folio: Folio<'_>) -> bool {
    folio.order() == Order::ZERO && folio.refs() == 1
}

/// Whether the folio is of anonymous memory.
fn is_anon(folio: Folio<'_>) -> bool {
    matches!(folio.mapping(), Mapping::Anon(_))
}
