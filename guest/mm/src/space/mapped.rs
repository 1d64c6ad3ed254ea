//! From a page of a context to all entries that map its folio (Linux `rmap_walk_anon`).
//!
//! Other contexts come last in the order of locks here and first everywhere else, so their locks are only tried: a
//! context that is busy is counted and left out.

use super::{Codec, Mm, Vm};
use crate::addr::{Order, Pfn, VirtAddr};
use crate::folio::{Folio, Mapping};
use crate::port::{Level, Machine, PteCodec};

/// What is known of a folio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FolioInfo {
    /// Its first frame.
    pub pfn: Pfn,
    /// Its size.
    pub order: Order,
    /// References.
    pub refs: u32,
    /// Entries that map it or a part of it.
    pub mapcount: u64,
    /// Areas that were left out, because their contexts were being changed.
    pub busy: u32,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Shows every entry that maps the folio at `va` of `mm` or a part of it: the context, where, and the entry's level.
    /// `None` where no folio is mapped. Interrupts are masked meanwhile.
    pub fn rmap_walk(
        &self,
        mm: &Mm<'p, M>,
        va: VirtAddr,
        mut visit: impl FnMut(u32, VirtAddr, Level),
    ) -> Option<FolioInfo> {
        let cpu = self.machine().cpu();
        let areas = mm.areas.read(cpu);
        let vma = areas.find(va.vpn().get())?;
        let entry = mm.tree().lookup(va)?;
        let folio = {
            let _locked = self.lock_table(entry.slot);
            let pte = entry.slot.load();
            if entry.level != Level::PTE && !Codec::<M>::is_huge(pte) {
                return None;
            }
            // The reference keeps the folio when the table is not locked any more, for whoever has a list may want to lock
            // tables; the area keeps the list.
            self.folio_of(pte).inspect(|folio| folio.get(1))?
        };
        let mut busy = 0;
        let each = |id, first, pages| {
            if id == mm.id {
                return self.entries_of(mm, folio, first, pages, &mut visit);
            }
            let other = self.mm(id);
            match other.and_then(|other| Some((other, other.areas.try_read(cpu)?))) {
                Some((other, _read)) => self.entries_of(other, folio, first, pages, &mut visit),
                None => busy += 1,
            }
        };
        let (index, pages) = (folio.index(), folio.order().pages());
        match folio.mapping() {
            Mapping::Anon(_) => vma.link.each(cpu, index, pages, each),
            _ => vma.shown.each(cpu, index, pages, each),
        }
        let (refs, mapcount) = (folio.refs() - 1, folio.mapcount());
        let info = FolioInfo { pfn: folio.pfn(), order: folio.order(), refs, mapcount, busy };
        if folio.put(1) {
            self.free_folio(folio);
        }
        Some(info)
    }

    /// Shows the entries for pages `first..first + pages` of `mm` that map a part of `folio`, under a lock of `mm`.
    fn entries_of(
        &self,
        mm: &Mm<'p, M>,
        folio: Folio<'p>,
        first: u64,
        pages: u64,
        visit: &mut impl FnMut(u32, VirtAddr, Level),
    ) {
        let Ok(range) = super::unmap::pages_of(first, first + pages) else { return };
        let scanned = mm.tree().scan(range, |slot, level, part| {
            if self.folio_of(slot.load()).is_some_and(|found| found.pfn() == folio.pfn()) {
                visit(mm.id, part.start(), level);
            }
        });
        if let Err(error) = scanned {
            self.corrupt(&super::Errno::from(error));
        }
    }
}
