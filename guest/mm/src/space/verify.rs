//! Checking a context against its page tables, its counters, and the folios that it maps.

use super::layout::TASK_SIZE;
use super::unmap::pages_of;
use super::{Codec, Mm, Rss, Usage, Vm};
use crate::addr::{Order, PAGE_SHIFT};
use crate::cache::FileRef;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::port::{Level, Machine, Pte, PteBits, PteCodec, PteView};
use crate::vma::{Backing, Vma};

/// What was found of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MmCensus {
    /// Areas.
    pub areas: u64,
    /// Entries that map something, large ones counted once.
    pub entries: u64,
    /// Pages of folios that are mapped.
    pub pages: u64,
    /// Pages of shared memory that are mapped.
    pub shmem: u64,
    /// Pages of files that are mapped.
    pub file: u64,
    /// Base pages of pages from a pool that are mapped.
    pub hugetlb: u64,
    /// Entries that name a slot of swap.
    pub swapped: u64,
    /// Pages of zeroes that are mapped.
    pub zero_pages: u64,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Checks `mm`, and gives what it has.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn verify(&self, mm: &Mm<'p, M>) -> Result<MmCensus, &'static str> {
        let areas = mm.areas.write(self.machine().cpu());
        areas.verify()?;
        let mut census = MmCensus { areas: areas.len(), ..MmCensus::default() };
        let everything = pages_of(0, TASK_SIZE >> PAGE_SHIFT).map_err(|_| "the lower half is no range")?;
        let mut wrong = None;
        let scanned = mm.tree().scan(everything, |slot, level, part| {
            let vpn = part.start().vpn().get();
            let found = match areas.find(vpn) {
                Some(vma) if vma.end() >= vpn + part.pages() => {
                    self.verify_entry(vma, vpn, slot.load(), level, &mut census)
                }
                _ => Err("an entry outside of all areas"),
            };
            wrong = wrong.or(found.err());
        });
        scanned.map_err(|_| "the page tables are corrupt")?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let mapped: u64 = areas.iter(0..TASK_SIZE >> PAGE_SHIFT).map(Vma::pages).sum();
        let counters = mm.counters();
        if census.pages != counters.rss(Rss::Anon) {
            return Err("resident pages are counted wrong");
        }
        if census.shmem != counters.rss(Rss::Shmem) {
            return Err("resident pages of shared memory are counted wrong");
        }
        if census.swapped != counters.rss(Rss::Swap) {
            return Err("pages in swap are counted wrong");
        }
        if census.file != counters.rss(Rss::File) {
            return Err("resident pages of files are counted wrong");
        }
        if census.hugetlb != counters.hugetlb() {
            return Err("pages of pools are counted wrong");
        }
        if mapped != counters.usage(Usage::Total) {
            return Err("mapped pages are counted wrong");
        }
        let census_of_all = mm.tree().census(everything).ok_or("the page tables are corrupt")?;
        // The root is not below itself.
        let tables = census_of_all.tables + 1;
        if tables != counters.tables() {
            return Err("page tables are counted wrong");
        }
        Ok(census)
    }

    fn verify_entry(
        &self,
        vma: &Vma,
        vpn: u64,
        pte: Pte,
        level: Level,
        census: &mut MmCensus,
    ) -> Result<(), &'static str> {
        let (addr, bits) = match Codec::<M>::view(pte) {
            PteView::Present { addr, bits } | PteView::ProtNone { addr, bits } => (addr, bits),
            PteView::Swap { .. } => {
                census.swapped += 1;
                return Ok(());
            }
            _ => return Err("an entry of a kind that nobody makes"),
        };
        census.entries += 1;
        let allowed = vma.flags().pte_bits(self.user_bits());
        if (bits - allowed).contains(PteBits::WRITE) || (allowed - bits).contains(PteBits::NO_EXEC) {
            return Err("an entry that allows more than its area");
        }
        if bits.contains(PteBits::SPECIAL) {
            census.zero_pages += level.pages();
            return if bits.contains(PteBits::WRITE) { Err("a writable page of zeroes") } else { Ok(()) };
        }
        let folio = self.folio_of(pte).ok_or("an entry that maps no folio")?;
        let counted = match folio.mapping() {
            _ if folio.flags().contains(FolioFlags::HUGETLB) => &mut census.hugetlb,
            Mapping::Space(_) => &mut census.shmem,
            Mapping::File(_) => &mut census.file,
            Mapping::Anon(_) | Mapping::None => &mut census.pages,
        };
        *counted += level.pages();
        let inside = addr.pfn().get() - folio.pfn().get();
        if folio.index() + inside != vma.index_of(vpn) {
            return Err("a page at another place than its folio says");
        }
        if let Some(object) = self.shmem_of(vma.backing()) {
            return if folio.mapping() == object.mapping() {
                Ok(())
            } else {
                Err("a page of another object")
            };
        }
        if let (Backing::File(file), Mapping::File(of)) = (vma.backing(), folio.mapping()) {
            return self.verify_file_entry(vma, of, file, folio, bits);
        }
        let anchor = vma.link.anchor().map(|anchor| anchor.as_ptr().addr() as u64);
        if !matches!((folio.mapping(), anchor), (Mapping::Anon(of), Some(anchor)) if of == anchor) {
            return Err("a page of another anchor than its area's");
        }
        if u64::from(folio.refs()) < folio.mapcount() || folio.mapcount() == 0 {
            return Err("a page with fewer references than entries");
        }
        let private_write = bits.contains(PteBits::WRITE) && vma.is_private();
        if private_write && !bits.contains(PteBits::EXCLUSIVE) {
            return Err("a writable private page that is not exclusive");
        }
        // Of a large folio some pages may be mapped twice and others once, and nobody counts them one by one.
        let is_single = folio.order() == Order::ZERO;
        if bits.contains(PteBits::EXCLUSIVE) && is_single && folio.mapcount() > 1 {
            return Err("an exclusive page that is mapped twice");
        }
        Ok(())
    }

    /// An entry of an area that shows `file`, for a page of the inode at `of`.
    fn verify_file_entry(
        &self,
        vma: &Vma,
        of: u64,
        file: FileRef,
        folio: Folio<'p>,
        bits: PteBits,
    ) -> Result<(), &'static str> {
        let inode = self.cache().file_of(file).inode();
        if inode.of_pages() != Mapping::File(of) {
            return Err("a page of another file");
        }
        if u64::from(folio.refs()) <= folio.mapcount() || folio.mapcount() == 0 {
            return Err("a page of a file with fewer references than entries and its index");
        }
        if !bits.contains(PteBits::WRITE) {
            return Ok(());
        }
        if vma.is_private() {
            return Err("a page of a file that its private area may write");
        }
        if folio.flags().contains(FolioFlags::DIRTY) {
            Ok(())
        } else {
            Err("a writable page of a file that is clean")
        }
    }
}
