//! Pages beside the one that was read, mapped with it where they are in memory (Linux `do_fault_around`,
//! `filemap_map_pages`).
//!
//! The window is as large as `fault_around_bytes` and starts at a multiple of that, so far as area, table and file reach.
//! Pages that are not up to date, that somebody has locked, or that start the next window of readahead are left out: their
//! own faults see to them.

use super::{Stop, Touch};
use crate::addr::{PAGE_SIZE, Pfn};
use crate::cache::Inode;
use crate::folio::{Folio, FolioFlags};
use crate::pgtable::PteSlot;
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, PteBits, PteCodec};
use crate::space::{Codec, Rss};
use crate::sync::rcu;
use crate::vma::VmFlags;
use crate::vmstat::NodeStat;
use crate::xarray::Cursor;

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// Maps what there is around the page; whether the page itself is mapped now.
    pub(super) fn map_around(&self, inode: &Inode<'p>, slot: PteSlot<'p>) -> Result<bool, Stop> {
        let wanted = self.vm.settings().fault_around_pages();
        if wanted <= 1 {
            return Ok(false);
        }
        let table = self.vm.frame_table().ok_or(Stop::Corrupt)?;
        let (first, end) = self.window(wanted, inode);
        let (index, cpu) = (self.vma.index_of(first), self.vm.machine().cpu());
        let is_locked = self.vma.flags().contains(VmFlags::LOCKED);
        let bits = self.rights() - PteBits::WRITE;
        let section = rcu::read_lock(cpu);
        let mut cursor = Cursor::new(index, index + (end - first) - 1);
        let pages = &inode.mapping().pages;
        let (mut found, mut mapped) = (cursor.next(pages, &section), 0);
        if found.is_none() {
            return Ok(false);
        }
        let last = self.tree().last_table(self.va()).ok_or(Stop::Again)?;
        let _locked = self.vm.lock_table(slot);
        while let Some(at) = found {
            found = cursor.next(pages, &section);
            let Some(pfn) = at.entry.as_handle().and_then(Pfn::new) else { continue };
            let slot = last.slot(first + (at.index - index));
            if !slot.load().is_none() {
                continue;
            }
            let Some(folio) = Folio::try_get(table, pfn) else { continue };
            if !self.lock_mappable(inode, folio, at.index) {
                self.vm.cache().put(folio);
                continue;
            }
            // Our reference becomes the entry's.
            if folio.add_mapped(1) {
                self.vm.stat().grow(cpu, folio.node(), NodeStat::FileMapped, 1);
            }
            if is_locked {
                self.vm.count_mlocked(folio, Level::PTE, true);
            }
            slot.set(Codec::<M>::present(pfn.addr(), bits));
            folio.unlock(cpu);
            mapped += 1;
        }
        self.mm.counters().add_rss(Rss::File, mapped);
        Ok(!slot.load().is_none())
    }

    /// Locks a folio that can be mapped as page `index` as it is.
    fn lock_mappable(&self, inode: &Inode<'p>, folio: Folio<'p>, index: u64) -> bool {
        let skipped = FolioFlags::LOCKED | FolioFlags::READAHEAD;
        let flags = folio.flags();
        let is_there = || folio.mapping() == inode.of_pages() && folio.index() == index;
        if flags.intersects(skipped) || !flags.contains(FolioFlags::UPTODATE) || !folio.is_uptodate() {
            return false;
        }
        // Before it is locked: what was found a while ago may be something else now, whose lock is not ours to take.
        if !is_there() || !folio.try_lock() {
            return false;
        }
        let fits = is_there();
        if !fits {
            folio.unlock(self.vm.machine().cpu());
        }
        fits
    }

    /// Which pages of the context are looked at: from the first of these on, up to the second.
    fn window(&self, wanted: u64, inode: &Inode<'p>) -> (u64, u64) {
        let table = self.vpn & !(Level::ENTRIES as u64 - 1);
        let start = (self.vpn & !(wanted - 1)).max(self.vma.start()).max(table);
        let left = inode.size().div_ceil(PAGE_SIZE).saturating_sub(self.vma.index_of(self.vpn));
        let end =
            (start + wanted).min(self.vma.end()).min(table + Level::ENTRIES as u64).min(self.vpn + left);
        (start, end.max(self.vpn + 1))
    }
}
