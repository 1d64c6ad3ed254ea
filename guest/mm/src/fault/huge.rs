//! Huge pages at the first touch, and what is written to later (Linux `mm/huge_memory.c`,
//! `do_huge_pmd_anonymous_page`, `do_huge_pmd_wp_page`).

use super::{Flavour, Stop, Touch};
use crate::addr::{Order, Pfn};
use crate::mutant::planted;
use crate::pgtable::PteSlot;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Level, Machine, Pte, PteBits, PteCodec};
use crate::space::{Codec, Errno, ThpMode};
use crate::vma::{Backing, VmFlags};
use crate::vmstat::VmEvent;
use core::sync::atomic::Ordering;

/// Base pages of a huge page.
const PAGES: u64 = Level::PMD.pages();

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// The first page of the huge page around the one that was touched.
    fn huge_start(&self) -> u64 {
        self.vpn & !(PAGES - 1)
    }

    /// Whether a huge page may be here: it lies in the area as a whole, and the area may have one.
    pub(super) fn fits_huge(&self) -> bool {
        let (start, flags) = (self.huge_start(), self.vma.flags());
        let allowed = match self.vm.settings().thp() {
            ThpMode::Always => true,
            ThpMode::Madvise => flags.contains(VmFlags::HUGEPAGE),
            ThpMode::Never => false,
        };
        allowed
            && !flags.contains(VmFlags::NOHUGEPAGE)
            && self.vma.backing() == Backing::Anon
            && start >= self.vma.start()
            && start + PAGES <= self.vma.end()
            // A stack grows page by page, and its folio would not be where its index says.
            && self.vma.index_of(start).is_multiple_of(PAGES)
    }

    /// Fills the empty entry in `slot`; `None` if there is no huge page to be had.
    pub(super) fn huge_page(&self, slot: PteSlot<'p>) -> Result<Option<Flavour>, Stop> {
        if !self.write && self.vm.settings().use_zero_page() {
            return self.huge_zero_page(slot);
        }
        let anchor = self.anchor()?;
        let Some(pfn) = self.alloc_huge() else { return Ok(None) };
        let folio = self.new_folio(pfn, self.huge_start(), anchor)?;
        let locked = self.vm.lock_table(slot);
        if !slot.load().is_none() {
            drop(locked);
            return self.lost(folio).map(Some);
        }
        self.count_mapped(&locked, folio, Level::PMD);
        slot.set(self.exclusive_entry(pfn, Level::PMD));
        drop(locked);
        self.vm.stat().count(self.vm.machine().cpu(), VmEvent::ThpFaultAlloc, 1);
        Ok(Some(Flavour::Huge))
    }

    /// A huge page of zeroes that is the caller's.
    fn alloc_huge(&self) -> Option<Pfn> {
        let gfp = GfpFlags::GFP_TRANSHUGE_LIGHT | GfpFlags::__GFP_ZERO;
        let block = self.frames.alloc(gfp, Order::PAGEBLOCK);
        if block.is_err() {
            self.vm.stat().count(self.vm.machine().cpu(), VmEvent::ThpFaultFallback, 1);
        }
        block.ok().map(|frames| frames.into_raw().0)
    }

    /// Maps the huge page of zeroes, which nobody counts.
    fn huge_zero_page(&self, slot: PteSlot<'p>) -> Result<Option<Flavour>, Stop> {
        let Some(zero) = self.huge_zero() else { return Ok(None) };
        let bits = (self.rights() - PteBits::WRITE) | PteBits::SPECIAL | PteBits::HUGE;
        let locked = self.vm.lock_table(slot);
        if !slot.load().is_none() {
            return Err(Stop::Again);
        }
        slot.set(Codec::<M>::present(zero.addr(), bits));
        drop(locked);
        Ok(Some(Flavour::HugeZero))
    }

    /// The huge page of zeroes. It is made when it is first needed, and stays.
    fn huge_zero(&self) -> Option<Pfn> {
        let word = self.vm.huge_zero();
        let known = word.load(Ordering::Acquire);
        if known != 0 {
            return Pfn::new(known);
        }
        let (cpu, stat) = (self.vm.machine().cpu(), self.vm.stat());
        let gfp = (GfpFlags::GFP_TRANSHUGE_LIGHT | GfpFlags::__GFP_ZERO) - GfpFlags::__GFP_MOVABLE;
        let Ok(block) = self.frames.alloc(gfp, Order::PAGEBLOCK) else {
            stat.count(cpu, VmEvent::ThpZeroPageAllocFailed, 1);
            return None;
        };
        match word.compare_exchange(0, block.pfn().get(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                stat.count(cpu, VmEvent::ThpZeroPageAlloc, 1);
                Some(block.into_raw().0)
            }
            Err(first) => {
                // Another CPU was faster; ours was shown to nobody.
                let _ = self.frames.free(block);
                Pfn::new(first)
            }
        }
    }

    /// A huge page that is there was touched: `entry` in `slot`.
    pub(super) fn huge_touched(&self, slot: PteSlot<'p>, entry: Pte) -> Result<Flavour, Stop> {
        let bits = Codec::<M>::bits(entry);
        if !Codec::<M>::is_present(entry) {
            return Err(Stop::Corrupt);
        }
        if !self.write || bits.contains(PteBits::WRITE) {
            return Ok(Flavour::Spurious);
        }
        if !bits.contains(PteBits::SPECIAL) && self.reuse_huge(slot, entry)? {
            return Ok(Flavour::Reuse);
        }
        // Advice and settings of now decide, not those of when zeroes were read.
        if bits.contains(PteBits::SPECIAL) && self.fits_huge() && self.replace_huge_zero(slot, entry)? {
            return Ok(Flavour::Huge);
        }
        // Page by page from here on, as in Linux: a copy of a huge page would mostly be for nothing.
        match self.vm.split_huge(self.mm, self.vpn, self.frames) {
            Ok(()) => {
                let source = crate::space::MmTables::new(self.vm, self.mm, self.frames);
                let slot = self.tree().populate_last(slot, self.va(), &source)?;
                self.small(slot)
            }
            Err(Errno::Enomem) => Err(Stop::NoMemory),
            Err(_) => Err(Stop::Corrupt),
        }
    }

    /// Makes the huge page writable if it is the area's alone; whether it is.
    fn reuse_huge(&self, slot: PteSlot<'p>, entry: Pte) -> Result<bool, Stop> {
        let _locked = self.vm.lock_table(slot);
        let now = slot.load();
        if !Codec::<M>::is_huge(now) || Codec::<M>::addr(now) != Codec::<M>::addr(entry) {
            return Err(Stop::Again);
        }
        let folio = self.vm.folio_of(now).ok_or(Stop::Corrupt)?;
        if !Codec::<M>::bits(now).contains(PteBits::EXCLUSIVE) && folio.refs() != 1 {
            return Ok(false);
        }
        let more = PteBits::WRITE | PteBits::DIRTY | PteBits::ACCESSED | PteBits::EXCLUSIVE;
        slot.update(|pte| Codec::<M>::with_bits(pte, Codec::<M>::bits(pte) | more));
        self.vm.stat().count(self.vm.machine().cpu(), VmEvent::PgReuse, 1);
        Ok(true)
    }

    /// Puts a huge page of the area's own in the place of the huge page of zeroes; whether there was one to be had.
    fn replace_huge_zero(&self, slot: PteSlot<'p>, entry: Pte) -> Result<bool, Stop> {
        let anchor = self.anchor()?;
        let Some(pfn) = self.alloc_huge() else { return Ok(false) };
        let folio = self.new_folio(pfn, self.huge_start(), anchor)?;
        let locked = self.vm.lock_table(slot);
        if Codec::<M>::addr(slot.load()) != Codec::<M>::addr(entry) || !Codec::<M>::is_huge(slot.load()) {
            drop(locked);
            return self.lost(folio).map(|_| true);
        }
        // What was there needs no care: nobody counts the huge page of zeroes.
        let _ = slot.take();
        if !planted("vm::flush.huge_zero") {
            self.flush_pages(self.huge_start(), PAGES);
        }
        self.count_mapped(&locked, folio, Level::PMD);
        slot.set(self.exclusive_entry(pfn, Level::PMD));
        drop(locked);
        self.vm.stat().count(self.vm.machine().cpu(), VmEvent::ThpFaultAlloc, 1);
        Ok(true)
    }
}
