//! Pages from a pool of huge pages (Linux `hugetlb_fault`, `hugetlb_no_page`, `hugetlb_wp`).
//!
//! Reads take a page, too: there is no huge page of zeroes in a pool. A page that another context has, too, is copied as
//! a whole, for entries of a pool's pages are never divided.

use super::{Flavour, Stop, Touch};
use crate::addr::Pfn;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::mutant::planted;
use crate::pgtable::PteSlot;
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, PhysMem, Pte, PteBits, PteCodec};
use crate::space::{Codec, MmTables};

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// Makes the page of `level` that was touched what the access needs.
    pub(super) fn pool_page(&self, level: Level) -> Result<Flavour, Stop> {
        let source = MmTables::new(self.vm, self.mm, self.frames);
        let slot = self.tree().populate(self.va(), level, &source)?;
        self.anchor()?;
        // The lock is held from here on, so that a page is taken once: pools are small, and promises exact.
        let _locked = self.vm.lock_table(slot);
        let entry = slot.load();
        let bits = Codec::<M>::bits(entry);
        if entry.is_none() {
            let folio = self.pool_folio(level, None)?;
            self.vm.add_rmap(folio, level);
            self.mm.counters().add_hugetlb(level.pages());
            slot.set(self.exclusive_entry(folio.pfn(), level));
            return Ok(Flavour::Hugetlb);
        }
        if !Codec::<M>::is_huge(entry) || !Codec::<M>::is_present(entry) {
            return Err(Stop::Corrupt);
        }
        if !self.write || bits.contains(PteBits::WRITE) {
            return Ok(Flavour::Spurious);
        }
        let folio = self.vm.folio_of(entry).ok_or(Stop::Corrupt)?;
        if bits.contains(PteBits::EXCLUSIVE) || folio.refs() == 1 {
            let more = PteBits::WRITE | PteBits::DIRTY | PteBits::ACCESSED | PteBits::EXCLUSIVE;
            slot.update(|pte| Codec::<M>::with_bits(pte, Codec::<M>::bits(pte) | more));
            return Ok(Flavour::Reuse);
        }
        self.copy_pool_page(slot, level, entry, folio)
    }

    /// Puts a copy in the place of a page that others have, too.
    fn copy_pool_page(
        &self,
        slot: PteSlot<'p>,
        level: Level,
        entry: Pte,
        folio: Folio<'p>,
    ) -> Result<Flavour, Stop> {
        let copy = self.pool_folio(level, Some(Codec::<M>::addr(entry).pfn()))?;
        let _ = slot.take();
        if !planted("vm::flush.pool_copy") {
            self.flush_pages(self.vpn & !(level.pages() - 1), level.pages());
        }
        self.vm.add_rmap(copy, level);
        slot.set(self.exclusive_entry(copy.pfn(), level));
        folio.sub_mapped(1);
        if folio.put(1) {
            self.vm.free_folio(folio);
        }
        Ok(Flavour::Cow)
    }

    /// A page of the pool, with the contents of the page at `from` or full of zeroes.
    fn pool_folio(&self, level: Level, from: Option<Pfn>) -> Result<Folio<'p>, Stop> {
        let pfn = self.vm.take_pool_page(self.vma, level, from.is_none()).ok_or(Stop::NoPoolPage)?;
        let physmem = self.vm.machine().physmem();
        for n in 0..level.pages() {
            let to = pfn.checked_add(n).ok_or(Stop::Corrupt)?;
            // SAFETY: the page was just taken out of the pool and is ours. Nobody writes the one that is copied: its
            // entries are not writable, for it is not exclusive, and the lock of this one's table is held.
            unsafe {
                match from.and_then(|from| from.checked_add(n)) {
                    Some(from) => physmem.copy(from, to),
                    None => physmem.zero(to),
                }
            }
        }
        let table = self.vm.frame_table().ok_or(Stop::Corrupt)?;
        let mapping = Mapping::Anon(self.anchor()?);
        let index = self.vma.index_of(self.vpn & !(level.pages() - 1));
        let flags = FolioFlags::HUGETLB | FolioFlags::UPTODATE;
        Folio::create(table, pfn, mapping, index, flags).ok_or(Stop::Corrupt)
    }
}
