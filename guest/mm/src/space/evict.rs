//! From a folio to the entries that map it, whoever has them, and taking them away (Linux `rmap_walk_anon`,
//! `try_to_unmap`).
//!
//! Contexts come first in the order of locks everywhere else, so their locks are only tried here: what a context that is
//! busy maps is left, and the folio with it. Invariants: an entry that named a folio names its slot afterwards, and the
//! slot is counted before; that a page was written is on record in the folio before its entry is gone; until a
//! [`Forgotten`] is done CPUs may still reach the page, so nobody writes it out or frees it before.

use super::{Codec, Mm, Rss, Vm};
use crate::addr::{Order, PAGE_SHIFT, VirtAddr};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::mutant::planted;
use crate::pgtable::PteSlot;
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, PteBits, PteCodec, PteView, SwapEntry, Tlb};
use crate::rmap::AnonVma;
use crate::sync::rcu;
use crate::vma::{VmFlags, Vma};
use core::ptr::with_exposed_provenance;
use core::sync::atomic::Ordering;

/// Whether a walk goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// To the next entry.
    On,
    /// It has seen enough.
    Stop,
}

/// What CPUs have to forget before pages that were unmapped can be used for anything else (Linux
/// `struct tlbflush_unmap_batch`).
#[must_use = "until it is done the pages can be reached"]
pub(crate) struct Forgotten {
    cpus: u64,
    pages: Option<(u64, u64)>,
}

impl Forgotten {
    pub(crate) const fn new() -> Self {
        Self { cpus: 0, pages: None }
    }

    fn add(&mut self, cpus: u64, vpn: u64) {
        self.cpus |= cpus;
        let (first, end) = self.pages.unwrap_or((vpn, vpn + 1));
        self.pages = Some((first.min(vpn), end.max(vpn + 1)));
    }

    /// Makes CPUs forget.
    pub(crate) fn flush(&mut self, machine: &impl Machine) {
        let cpus = core::mem::take(&mut self.cpus);
        if let Some((first, end)) = self.pages.take()
            && !planted("vm::swap.unflushed")
        {
            machine.tlb().flush_range_on(cpus, VirtAddr::truncate(first << PAGE_SHIFT), end - first);
        }
    }
}

impl<M: Machine> Mm<'_, M> {
    /// Somebody has the write lock: what reclaim took away must be forgotten by now, for who finds no entry does not flush
    /// (Linux `flush_tlb_batched_pending`).
    pub(super) fn flush_evicted(&self) {
        if self.unflushed.load(Ordering::SeqCst) {
            self.unflushed.store(false, Ordering::SeqCst);
            let pages = super::layout::TASK_SIZE >> PAGE_SHIFT;
            self.machine.tlb().flush_range_on(self.cpus(), VirtAddr::truncate(0), pages);
        }
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Shows every entry that maps a folio or a part of it, anonymous, or locked and of a file or of shared memory, under the lock of its
    /// table, until it is told to stop; how many areas were left out because their contexts were being changed.
    pub(crate) fn each_entry(
        &self,
        folio: Folio<'p>,
        mut visit: impl FnMut(&Mm<'p, M>, &Vma, PteSlot<'p>, u64) -> Step,
    ) -> u32 {
        let cpu = self.machine().cpu();
        let _section = rcu::read_lock(cpu);
        if folio.mapcount() == 0 {
            return 0;
        }
        let (mut busy, mut step) = (0, Step::On);
        let each = |id, first: u64, pages| {
            if step == Step::Stop {
                return;
            }
            let Some(mm) = self.mm(id) else { return };
            let Some(areas) = mm.areas.try_read(cpu) else {
                busy += 1;
                return;
            };
            let Some(vma) = areas.find(first) else { return };
            for vpn in first..first + pages {
                let Some(entry) = mm.tree().lookup(vpn_address(vpn)) else { return };
                let locked = self.lock_table(entry.slot);
                if self.folio_of(entry.slot.load()).is_some_and(|found| found.pfn() == folio.pfn()) {
                    step = visit(mm, vma, entry.slot, vpn);
                }
                drop(locked);
                if entry.level != Level::PTE || step == Step::Stop {
                    return;
                }
            }
        };
        match folio.mapping() {
            Mapping::Anon(anchor) => {
                let anchor = with_exposed_provenance::<AnonVma>(anchor as usize);
                // SAFETY: the folio is mapped, so an area is linked to its anchor, or was since this section began: it is
                // there as long as the section is.
                if let Some(anchor) = unsafe { anchor.as_ref() } {
                    anchor.each(cpu, folio.index(), folio.order().pages(), each);
                }
            }
            Mapping::File(_) => {
                if let Some(inode) = self.cache().inode_of(folio) {
                    inode.mapping().areas.each(cpu, folio.index(), 1, each);
                }
            }
            Mapping::Space(_) => {
                if let Some(object) = self.object_of(folio) {
                    object.areas().each(cpu, folio.index(), 1, each);
                }
            }
            Mapping::None => {}
        }
        busy
    }

    /// Takes away every entry that maps a locked folio of one page that is in the swap cache, and names its slot there.
    /// What CPUs have to forget goes to `forgotten`. Whether none maps it any more.
    pub(crate) fn try_to_unmap(
        &self,
        folio: Folio<'p>,
        forgotten: &mut Forgotten,
        frames: &impl FrameAllocator<'p>,
    ) -> bool {
        if folio.order() != Order::ZERO {
            return false;
        }
        let Some(swapped) = self.swap().entry_of(folio) else { return folio.mapcount() == 0 };
        self.each_entry(folio, |mm, vma, slot, vpn| {
            if vma.flags().contains(VmFlags::LOCKED) || self.swap().duplicate(swapped, frames).is_err() {
                return Step::Stop;
            }
            // Before the entry goes: whoever has the write lock next sees one or the other.
            mm.unflushed.store(true, Ordering::SeqCst);
            self.swap_entry(mm, folio, slot, swapped);
            forgotten.add(mm.cpus(), vpn);
            Step::On
        });
        folio.mapcount() == 0
    }

    /// Takes away every entry that maps a locked page of a file, which is clean and can be read again from there, or of
    /// shared memory, which has it still. What CPUs have to forget goes to `forgotten`. Whether none maps it any more.
    pub(crate) fn try_to_unmap_page(&self, folio: Folio<'p>, forgotten: &mut Forgotten) -> bool {
        let is_file = matches!(folio.mapping(), Mapping::File(_));
        self.each_entry(folio, |mm, vma, slot, vpn| {
            // Who may write through an entry of a file has made the page dirty first, under its lock.
            let may_write = Codec::<M>::bits(slot.load()).intersects(PteBits::WRITE | PteBits::DIRTY);
            if is_file && may_write || vma.flags().contains(VmFlags::LOCKED) {
                return Step::Stop;
            }
            mm.unflushed.store(true, Ordering::SeqCst);
            let _ = slot.take();
            mm.counters.sub_rss(if is_file { Rss::File } else { Rss::Shmem }, 1);
            self.drop_file_rmap(folio);
            // Whoever unmaps it has another.
            let _ = folio.put(1);
            forgotten.add(mm.cpus(), vpn);
            Step::On
        });
        folio.mapcount() == 0
    }

    /// Takes away every entry that maps a locked folio of one page which nobody may have written to since it was not needed
    /// (Linux `try_to_unmap_one` of `MADV_FREE`). The caller has the only other reference, and has taken the folio off its
    /// list. Whether none maps it any more; a page that was written to is one of swap again.
    pub(crate) fn try_to_discard(&self, folio: Folio<'p>, forgotten: &mut Forgotten) -> bool {
        self.each_entry(folio, |mm, vma, slot, vpn| {
            if vma.flags().contains(VmFlags::LOCKED) {
                return Step::Stop;
            }
            mm.unflushed.store(true, Ordering::SeqCst);
            // Who writes through what a CPU has cached as clean looks for the entry first, and finds none.
            let old = slot.take();
            let is_dirty = Codec::<M>::bits(old).contains(PteBits::DIRTY)
                && !planted("vm::advice.write_is_lost")
                || folio.flags().contains(FolioFlags::DIRTY);
            // Another reference may be somebody's who is about to write.
            if is_dirty || u64::from(folio.refs()) != 1 + folio.mapcount() {
                slot.set(old);
                if is_dirty {
                    folio.set_flags(FolioFlags::SWAPBACKED);
                }
                return Step::Stop;
            }
            mm.counters.sub_rss(Rss::Anon, 1);
            self.drop_anon_rmap(folio, Level::PTE);
            let _ = folio.put(1);
            forgotten.add(mm.cpus(), vpn);
            Step::On
        });
        folio.mapcount() == 0
    }

    /// A page that was mapped is mapped less now: if nothing needs its slot any more, that is given up (Linux
    /// `free_swap_cache`). The caller has a reference.
    #[inline(always)]
    pub(crate) fn free_swap_cache(&self, folio: Folio<'_>) {
        if folio.flags().contains(FolioFlags::SWAPCACHE) {
            self.free_unmapped_slot(folio);
        }
    }

    #[cold]
    fn free_unmapped_slot(&self, folio: Folio<'_>) {
        if folio.mapcount() == 0 && folio.try_lock() {
            self.swap().try_remove(folio);
            folio.unlock(self.machine().cpu());
        }
    }

    /// Makes the entry in `slot` name a slot of swap in place of `folio`.
    fn swap_entry(&self, mm: &Mm<'p, M>, folio: Folio<'p>, slot: PteSlot<'p>, entry: SwapEntry) {
        let old = slot.take();
        let bits = Codec::<M>::bits(old);
        if bits.contains(PteBits::DIRTY) && !planted("vm::swap.dirty_is_lost") {
            folio.set_flags(FolioFlags::DIRTY);
        }
        let kept = PteBits::EXCLUSIVE | PteBits::SOFT_DIRTY | PteBits::UFFD_WP;
        slot.set(Codec::<M>::encode(PteView::Swap { entry, bits: bits & kept }));
        mm.counters.sub_rss(Rss::Anon, 1);
        mm.counters.add_rss(Rss::Swap, 1);
        self.drop_anon_rmap(folio, Level::PTE);
        // Whoever unmaps it has another.
        let _ = folio.put(1);
    }
}

fn vpn_address(vpn: u64) -> VirtAddr {
    VirtAddr::truncate(vpn << PAGE_SHIFT)
}
