//! What a context has, for whoever shows it (Linux `smaps_pte_range`).

use super::unmap::pages_of;
use super::{Codec, Errno, Mm, Vm};
use crate::addr::{Order, PAGE_SHIFT, Pfn, VirtAddr};
use crate::cache::OpenFile;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::phys::PageUse;
use crate::port::{Level, Machine, Pte, PteBits, PteCodec, PteView};
use crate::vma::{Backing, Vma, VmaInit};

/// What there is of a range, in pages; shares in 4096ths of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resident {
    /// Pages that are mapped (`Rss`), those of pools left out.
    pub rss: u64,
    /// Each divided by how many map it (`Pss`).
    pub pss: u64,
    /// The part of it that was written (`Pss_Dirty`).
    pub pss_dirty: u64,
    /// Mapped elsewhere too, and not written.
    pub shared_clean: u64,
    /// Mapped elsewhere too, and written.
    pub shared_dirty: u64,
    /// Mapped here only, and not written.
    pub private_clean: u64,
    /// Mapped here only, and written.
    pub private_dirty: u64,
    /// Used.
    pub referenced: u64,
    /// Of no file and no shared memory (`Anonymous`).
    pub anonymous: u64,
    /// Mapped as parts of a huge page (`AnonHugePages`).
    pub huge: u64,
    /// Pages of pools that are mapped elsewhere too.
    pub shared_hugetlb: u64,
    /// Pages of pools that are mapped here only.
    pub private_hugetlb: u64,
    /// Anonymous pages that may go without being written (`LazyFree`).
    pub lazy_free: u64,
    /// Entries that name a slot of swap (`Swap`).
    pub swap: u64,
    /// Each divided by how many name it (`SwapPss`).
    pub swap_pss: u64,
    /// Entries that map a page of zeroes, in pages; they count as nothing else.
    pub zero: u64,
}

/// A block of frames that contexts map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FolioUse {
    /// Its first frame.
    pub head: Pfn,
    /// References.
    pub refs: u32,
    /// Entries that map it or a part of it.
    pub entries: u64,
    /// Entries that map it as a whole, of more than one page.
    pub entire: u32,
}

/// How many of a share's units are a page.
pub const PSS_UNITS: u64 = 1 << 12;

/// How many map a page of `folio`, on average where its pages are not counted one by one.
fn mappers(folio: Folio<'_>) -> u64 {
    let (entries, pages) = (folio.mapcount(), folio.order().pages());
    if folio.order() == Order::ZERO {
        return entries.max(1);
    }
    let whole = u64::from(folio.entire_mapcount());
    (whole + entries.saturating_sub(whole).div_ceil(pages)).max(1)
}

impl Resident {
    fn add(&mut self, folio: Folio<'_>, bits: PteBits, level: Level) {
        let (pages, mappers) = (level.pages(), mappers(folio));
        let is_shared = mappers > 1 && !bits.contains(PteBits::EXCLUSIVE);
        if folio.flags().contains(FolioFlags::HUGETLB) {
            *(if is_shared { &mut self.shared_hugetlb } else { &mut self.private_hugetlb }) += pages;
            return;
        }
        let share = if is_shared { pages * PSS_UNITS / mappers } else { pages * PSS_UNITS };
        self.rss += pages;
        self.pss += share;
        let is_dirty = bits.contains(PteBits::DIRTY) || folio.flags().contains(FolioFlags::DIRTY);
        if !is_dirty
            && !folio.flags().contains(FolioFlags::SWAPBACKED)
            && matches!(folio.mapping(), Mapping::Anon(_))
        {
            self.lazy_free += pages;
        }
        if is_dirty {
            self.pss_dirty += share;
        }
        *match (is_shared, is_dirty) {
            (true, false) => &mut self.shared_clean,
            (true, true) => &mut self.shared_dirty,
            (false, false) => &mut self.private_clean,
            (false, true) => &mut self.private_dirty,
        } += pages;
        if bits.contains(PteBits::ACCESSED) {
            self.referenced += pages;
        }
        if level != Level::PTE {
            self.huge += pages;
        }
        if matches!(folio.mapping(), Mapping::Anon(_)) {
            self.anonymous += pages;
        }
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// The area at `va`, or the first above it, as it is now.
    pub fn area_from(&self, mm: &Mm<'p, M>, va: VirtAddr) -> Option<VmaInit> {
        mm.areas.read(self.machine().cpu()).next_from(va.vpn().get()).map(Vma::init)
    }

    /// As [`Vm::area_from`]; shows `visit` the area and the file behind it, which stays open meanwhile. Nothing is locked.
    pub fn with_area<T>(
        &self,
        mm: &Mm<'p, M>,
        va: VirtAddr,
        visit: impl FnOnce(&VmaInit, Option<&OpenFile<'p>>) -> T,
    ) -> Option<T> {
        let area = {
            let areas = mm.areas.read(self.machine().cpu());
            let area = areas.next_from(va.vpn().get())?.init();
            self.hold(area.backing);
            area
        };
        let file = match area.backing {
            Backing::File(file) => Some(self.cache().file_of(file)),
            _ => None,
        };
        let visited = visit(&area, file);
        self.let_go(area.backing);
        Some(visited)
    }

    /// Shows the areas that have some of the pages `first..end`, in order, each with these pages and its file, as
    /// [`Vm::with_area`]. Those that come or go meanwhile may be missed.
    ///
    /// # Errors
    /// The first of `visit`; then `Enomem` where nothing is mapped.
    pub(crate) fn each_mapped(
        &self,
        mm: &Mm<'p, M>,
        first: u64,
        end: u64,
        mut visit: impl FnMut(&VmaInit, Option<&OpenFile<'p>>, (u64, u64)) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let (mut at, mut covered) = (first, Ok(()));
        while at < end {
            let place = VirtAddr::truncate(at << PAGE_SHIFT);
            let visited = self.with_area(mm, place, |area, file| {
                if area.start > at {
                    covered = Err(Errno::Enomem);
                }
                let part = (area.start.max(at), area.end.min(end));
                at = area.end;
                if part.0 < part.1 { visit(area, file, part) } else { Ok(()) }
            });
            visited.ok_or(Errno::Enomem)??;
        }
        covered
    }

    /// The folio that the frame `pfn` is a part of, if contexts may map it.
    pub fn folio(&self, pfn: Pfn) -> Option<FolioUse> {
        let folio = Folio::of(self.frame_table()?, pfn)?;
        let entire = if folio.order() == Order::ZERO { 0 } else { folio.entire_mapcount() };
        Some(FolioUse { head: folio.pfn(), refs: folio.refs(), entries: folio.mapcount(), entire })
    }

    /// What the frame `pfn` is used for, if it is memory of contexts or files.
    pub fn page_use(&self, pfn: Pfn) -> Option<PageUse> {
        Some(Folio::of(self.frame_table()?, pfn)?.page_use())
    }

    /// What there is of pages `first..end`; nothing where the tables are corrupt.
    pub fn resident(&self, mm: &Mm<'p, M>, first: u64, end: u64) -> Resident {
        let mut sum = Resident::default();
        let Ok(range) = pages_of(first, end) else { return sum };
        let _areas = mm.areas.read(self.machine().cpu());
        let scanned = mm.tree().scan(range, |slot, level, _| self.add_entry(&mut sum, slot.load(), level));
        if scanned.is_err() {
            return Resident::default();
        }
        sum
    }

    fn add_entry(&self, sum: &mut Resident, pte: Pte, level: Level) {
        match Codec::<M>::view(pte) {
            PteView::Present { bits, .. } if bits.contains(PteBits::SPECIAL) => sum.zero += level.pages(),
            PteView::Present { bits, .. } | PteView::ProtNone { bits, .. } => {
                self.folio_of(pte).into_iter().for_each(|folio| sum.add(folio, bits, level));
            }
            PteView::Swap { entry, .. } => {
                sum.swap += 1;
                sum.swap_pss += PSS_UNITS / u64::from(self.swap().entries(entry).max(1));
            }
            _ => {}
        }
    }
}
