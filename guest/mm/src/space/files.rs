//! From a file to the entries that map its pages: taking them away, and making them clean (Linux `unmap_mapping_range`,
//! `folio_mkclean`).
//!
//! Works on any context, whoever runs there. Contexts come last in the order of locks here and first everywhere else, so
//! their locks are only tried, and whoever must reach all of them comes again until none was busy; he holds no lock.
//! Invariants: no page of the range that was in an entry when the call began is in it when it returns; a page that was made
//! clean is written again only by an access that faults first.
//!
//! The areas of a file are a tree, so those that do not show the pages are not looked at; those that do are, with interrupts
//! masked.

use super::gather::Unmapped;
use super::unmap::pages_of;
use super::{Codec, Errno, Mm, MmTables, Vm};
use crate::addr::Pfn;
use crate::cache::Inode;
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::mutant::planted;
use crate::pgtable::PageRange;
use crate::phys::FrameAllocator;
use crate::port::{Cpu, Machine, Pte, PteBits, PteCodec, PteView};
use crate::vma::{Areas, VmFlags};

/// How long to wait for a context that is being changed.
const BUSY_NS: u64 = 10_000;

/// What becomes of the copies that private areas have of the pages of a file (Linux's `even_cows`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copies {
    /// They stay.
    Keep,
    /// They go: the file has no such pages any more.
    Drop,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Empties every entry for pages `first..first + pages` of a file, in all contexts (Linux `unmap_mapping_pages`). What was
    /// written through them is known to be dirty then. Only where this code can wait.
    ///
    /// # Errors
    /// `Ecorrupt`.
    pub(crate) fn unmap_file<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        first: u64,
        pages: u64,
        copies: Copies,
        frames: &A,
    ) -> Result<(), Errno> {
        self.each_context(inode, first, pages, |mm, areas, part| {
            self.zap_shown(mm, areas, part, copies, frames)
        })
    }

    /// Makes page `index` of a file, which is in the frame `pfn`, clean in every entry that maps it: not writable, and not
    /// dirty; whether one was. When it returns the next write faults, and all writes before can be read. The caller has the
    /// folio locked, and can wait.
    ///
    /// # Errors
    /// `Ecorrupt`.
    pub(crate) fn mkclean<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        index: u64,
        pfn: Pfn,
        frames: &A,
    ) -> Result<bool, Errno> {
        let mut dirty = false;
        self.each_context(inode, index, 1, |mm, _, part| {
            let source = MmTables::new(self, mm, frames);
            let mut gather = mm.tree().gather_on(&source, &mm.cpus);
            mm.tree().scan(part, |slot, _, at| {
                let _locked = self.lock_table(slot);
                let (old, new) = slot.update(|pte| clean::<Codec<M>>(pte, pfn));
                if old != new {
                    dirty |= Codec::<M>::bits(old).contains(PteBits::DIRTY);
                    if !planted("vm::file.no_flush_on_clean") {
                        gather.changed(at, old, new);
                    }
                }
            })?;
            let _ = gather.finish();
            Ok(())
        })?;
        Ok(dirty)
    }

    /// Makes page `index` of a file clean, here and in every entry that maps it, before it is written out (Linux
    /// `folio_clear_dirty_for_io`); whether it was dirty. From then on its next write makes it dirty again. Only where this
    /// code can wait.
    ///
    /// # Errors
    /// `Ecorrupt`.
    pub fn clean_page<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        index: u64,
        frames: &A,
    ) -> Result<bool, Errno> {
        let cache = self.cache();
        let Some(folio) = cache.find(inode, index) else { return Ok(false) };
        cache.io().lock_folio(inode.fs().device(), folio);
        let cleaned = self.clean_folio(inode, folio, frames);
        folio.unlock(self.machine().cpu());
        cache.put(folio);
        cleaned
    }

    /// As [`Vm::clean_page`], of a locked folio.
    pub(crate) fn clean_folio<A: FrameAllocator<'p>>(
        &self,
        inode: &Inode<'p>,
        folio: Folio<'p>,
        frames: &A,
    ) -> Result<bool, Errno> {
        if folio.mapping() != inode.of_pages() {
            return Ok(false);
        }
        let is_mapped = folio.mapcount() != 0;
        let was_written = is_mapped && self.mkclean(inode, folio.index(), folio.pfn(), frames)?;
        let was_dirty = folio.flags().contains(FolioFlags::DIRTY);
        self.cache().cancel_dirty(inode, folio);
        Ok(was_dirty || was_written)
    }

    /// Shows every context that has an area for some of the pages, with its areas and the range that shows these pages,
    /// until none was busy.
    fn each_context(
        &self,
        inode: &Inode<'p>,
        first: u64,
        pages: u64,
        mut visit: impl FnMut(&Mm<'p, M>, &Areas<'p>, PageRange) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let cpu = self.machine().cpu();
        loop {
            let (mut is_busy, mut result) = (false, Ok(()));
            inode.mapping().areas.each(cpu, first, pages, |id, at, count| {
                // A context stays as long as an area of it is on the list, whose lock is held.
                let Some(mm) = self.mm(id) else { return };
                let Some(areas) = mm.areas.try_read(cpu) else {
                    is_busy = true;
                    return;
                };
                result = result.and(pages_of(at, at + count).and_then(|part| visit(mm, &areas, part)));
            });
            if result.is_err() || !is_busy {
                return result;
            }
            cpu.wait_for(BUSY_NS);
        }
    }

    /// Empties the entries in `part`, which lies in one area of `mm`, under the read lock.
    fn zap_shown<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        areas: &Areas<'p>,
        part: PageRange,
        copies: Copies,
        frames: &A,
    ) -> Result<(), Errno> {
        let vma = areas.find(part.start().vpn().get());
        let is_locked = vma.is_some_and(|vma| vma.flags().contains(VmFlags::LOCKED));
        let (source, tree) = (MmTables::new(self, mm, frames), mm.tree());
        let table = self.frame_table().ok_or(Errno::Ecorrupt)?;
        let (mut rest, mut unmapped) = (Some(part), Unmapped::new(table));
        while let Some(part) = rest {
            let mut gather = tree.gather_on(&source, &mm.cpus);
            let done = tree.scan_while(part, |slot, level, at| {
                // Others may be faulting here.
                let _locked = self.lock_table(slot);
                let pte = slot.load();
                if pte.is_none() || copies == Copies::Keep && !self.is_of_file(pte) {
                    return true;
                }
                if is_locked && let Some(folio) = self.folio_of(pte) {
                    self.count_mlocked(folio, level, false);
                }
                self.zap_entry(slot, level, at, &mut gather, &mut unmapped)
            });
            let _ = gather.finish();
            unmapped.release(self, mm);
            let done = done?;
            rest = part.part(done, part.pages() - done).filter(|rest| rest.pages() != 0);
        }
        Ok(())
    }

    /// Whether the entry maps a page of a file.
    fn is_of_file(&self, pte: Pte) -> bool {
        self.folio_of(pte).is_some_and(|folio| matches!(folio.mapping(), Mapping::File(_)))
    }
}

/// The entry, if it maps `pfn`, without the right to write and not dirty.
fn clean<C: PteCodec>(pte: Pte, pfn: Pfn) -> Pte {
    match C::view(pte) {
        PteView::Present { addr, .. } if addr.pfn() == pfn => C::clear(pte, PteBits::WRITE | PteBits::DIRTY),
        PteView::ProtNone { addr, bits } if addr.pfn() == pfn => {
            C::encode(PteView::ProtNone { addr, bits: bits - PteBits::WRITE - PteBits::DIRTY })
        }
        _ => pte,
    }
}
