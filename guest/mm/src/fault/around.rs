//! Pages beside the one that was read, mapped with it where they are in memory (Linux `do_fault_around`,
//! `filemap_map_pages`).
//!
//! The window is as large as `fault_around_bytes` and starts at a multiple of that, so far as area, table and file reach.
//! Pages that are not up to date, that somebody has locked, or that start the next window of readahead are left out: their
//! own faults see to them.

use super::{Stop, Touch};
use crate::addr::{NodeId, PAGE_SIZE, Pfn};
use crate::cache::Inode;
use crate::folio::{Folio, FolioFlags};
use crate::pgtable::PteSlot;
use crate::phys::FrameAllocator;
use crate::port::{Cpu, IrqGuard, Level, Machine, PteBits, PteCodec};
use crate::space::{Codec, Rss};
use crate::sync::rcu;
use crate::vma::VmFlags;
use crate::vmstat::{NodeStat, VmStat};
use crate::xarray::Entry;

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// Maps what there is around the page; whether the page itself is mapped now.
    pub(super) fn map_around(&self, inode: &Inode<'p>, slot: PteSlot<'p>) -> Result<bool, Stop> {
        let wanted = self.vm.settings().fault_around_pages();
        if wanted <= 1 {
            return Ok(false);
        }
        let (first, end) = self.window(wanted, inode);
        let (index, cpu) = (self.vma.index_of(first), self.vm.machine().cpu());
        let last = self.tree().last_table(self.va()).ok_or(Stop::Again)?;
        let (owner, bits) = (inode.of_pages().word(), self.rights() - PteBits::WRITE);
        let is_locked = self.vma.flags().contains(VmFlags::LOCKED);
        let section = rcu::read_lock(cpu);
        let locked = self.lock(slot);
        let (mut mapped, mut fresh) = (0, Fresh { node: NodeId::ZERO, pages: 0 });
        for (at, entry) in inode.mapping().pages.entries(&section, index, index + (end - first) - 1) {
            let slot = last.slot(first + (at - index));
            if !slot.load().is_none() {
                continue;
            }
            let Some(folio) = self.lock_mappable(owner, entry, at) else { continue };
            // Our reference becomes the entry's.
            if folio.add_mapped(1) {
                fresh.add(self.vm.stat(), cpu, locked.masked(), folio.node());
            }
            if is_locked {
                self.vm.count_mlocked(folio, Level::PTE, true);
            }
            slot.set(Codec::<M>::present(folio.pfn().addr(), bits));
            folio.unlock(cpu);
            mapped += 1;
        }
        fresh.count(self.vm.stat(), cpu, locked.masked());
        self.mm.counters().add_rss(Rss::File, mapped);
        Ok(!slot.load().is_none())
    }

    /// The folio that stands at page `index` of `owner`, if it can be mapped as it is: with a reference, and locked.
    #[inline(always)]
    fn lock_mappable(&self, owner: u64, entry: Entry, index: u64) -> Option<Folio<'p>> {
        let pfn = entry.as_handle().and_then(Pfn::new)?;
        let folio = Folio::try_get(self.ground.table(), pfn)?;
        let looked_at = FolioFlags::LOCKED | FolioFlags::READAHEAD | FolioFlags::UPTODATE;
        // Before it is locked: what was found a while ago may be something else now, whose lock is not ours to take. What it
        // belongs to now it will belong to or to nothing, as long as we have a reference.
        let is_fit = folio.flags_acquired() & looked_at == FolioFlags::UPTODATE;
        if is_fit && folio.index() == index && folio.belongs_to(owner) && folio.try_lock() {
            if folio.belongs_to(owner) {
                return Some(folio);
            }
            folio.unlock(self.vm.machine().cpu());
        }
        self.give_up(folio)
    }

    #[cold]
    fn give_up(&self, folio: Folio<'p>) -> Option<Folio<'p>> {
        self.vm.cache().put(folio);
        None
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

/// Pages that nothing mapped before, of one node, which are to be counted.
struct Fresh {
    node: NodeId,
    pages: u64,
}

impl Fresh {
    #[inline(always)]
    fn add<C: Cpu>(&mut self, stat: &VmStat, cpu: &C, masked: &IrqGuard<'_, C>, node: NodeId) {
        if node != self.node {
            self.count(stat, cpu, masked);
            self.node = node;
        }
        self.pages += 1;
    }

    fn count<C: Cpu>(&mut self, stat: &VmStat, cpu: &C, masked: &IrqGuard<'_, C>) {
        let pages = core::mem::take(&mut self.pages);
        stat.grow_on(cpu.id(), masked, self.node, NodeStat::FileMapped, pages);
    }
}
