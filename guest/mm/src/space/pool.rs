//! Pages from pools of huge pages: promised to areas, taken by faults, given back (Linux `mm/hugetlb.c`).
//!
//! An area that is promised its pages has one promise for each page that is not there yet: a page that is there has used
//! its own up. Areas of clones, and those that were mapped with `MAP_NORESERVE`, have none.

use super::map::MapRequest;
use super::{Errno, MapFlags, Mm, Vm};
use crate::addr::{NodeId, Order, PAGE_SIZE, Pfn};
use crate::folio::{Folio, FolioFlags};
use crate::hugetlb::{HugePage, HugePool};
use crate::port::{Cpu, Level, Machine};
use crate::vma::{Areas, Backing, VmFlags, Vma};

/// Promised pages of each pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Promise {
    pmd: u64,
    pud: u64,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// The pool of pages of `level`, if there can be such pages.
    pub(crate) fn pool(&self, level: Level) -> Option<&'p HugePool<'p, M>> {
        let pools = self.ground()?.pools.iter().flatten();
        pools.copied().find(|pool| pool.frames() == level.pages())
    }

    /// Promises what a new mapping of `len` bytes needs.
    pub(super) fn promise(&self, request: &MapRequest, len: u64) -> Result<Promise, Errno> {
        let Backing::Hugetlb(level) = request.backing else { return Ok(Promise::default()) };
        let pool = self.pool(level).ok_or(Errno::Einval)?;
        let is_sound = request.vm.contains(VmFlags::HUGETLB) && !request.vm.contains(VmFlags::SHARED);
        if !is_sound {
            return Err(Errno::Einval);
        }
        if request.flags.contains(MapFlags::NORESERVE) || request.vm.contains(VmFlags::NORESERVE) {
            return Ok(Promise::default());
        }
        let count = len / (level.pages() * PAGE_SIZE);
        if !pool.reserve(count) {
            return Err(Errno::Enomem);
        }
        Ok(if level == Level::PUD { Promise { pud: count, pmd: 0 } } else { Promise { pmd: count, pud: 0 } })
    }

    /// Takes promises back.
    pub(super) fn unpromise(&self, promise: Promise) {
        for (level, count) in [(Level::PMD, promise.pmd), (Level::PUD, promise.pud)] {
            if count != 0 {
                self.pool(level).into_iter().for_each(|pool| pool.unreserve(count));
            }
        }
    }

    /// What the areas from page `first` to `end`, whose borders are borders of areas, were promised and have not taken.
    pub(super) fn promised_in(&self, mm: &Mm<'p, M>, areas: &Areas<'p>, first: u64, end: u64) -> Promise {
        let mut promise = Promise::default();
        for vma in areas.iter(first..end).filter(|vma| is_promised(vma)) {
            let range = super::unmap::pages_of(vma.start(), vma.end()).ok();
            let leaves = range.and_then(|range| mm.tree().census(range)).unwrap_or_default().leaves;
            match vma.backing() {
                Backing::Hugetlb(Level::PUD) => promise.pud += vma.pages() / Level::PUD.pages() - leaves.pud,
                Backing::Hugetlb(level) => promise.pmd += vma.pages() / level.pages() - leaves.pmd,
                Backing::Anon | Backing::Shmem(_) | Backing::File(_) => {}
            }
        }
        promise
    }

    /// A page for `vma` from the pool of `level`, near the running CPU: one that was promised, if `vma` is promised its
    /// pages and this is the `first` at its place.
    pub(crate) fn take_pool_page(&self, vma: &Vma, level: Level, first: bool) -> Option<Pfn> {
        let pool = self.pool(level)?;
        let cpu = self.machine().cpu().id();
        let node = self.phys().topology().map_or(NodeId::ZERO, |topology| topology.node_of(cpu));
        let page = if first && is_promised(vma) { pool.take_reserved(node) } else { pool.take_free(node) };
        page.map(HugePage::into_raw)
    }

    /// Frees a folio whose last reference is gone: to the zones, or to the pool that it came from.
    pub(crate) fn free_folio(&self, folio: Folio<'_>) {
        if !folio.flags().contains(FolioFlags::HUGETLB) {
            if let Err(error) = self.lru().free(self.phys(), folio) {
                self.corrupt(&error);
            }
            return;
        }
        // A page of a gigantic size starts with a block of the largest order.
        let level = if folio.order() == Order::PAGEBLOCK { Level::PMD } else { Level::PUD };
        let (pfn, _) = folio.dissolve();
        // SAFETY: the folio was made of a page of the pool, and its last reference is gone.
        let page = unsafe { HugePage::from_raw(pfn) };
        match self.pool(level) {
            Some(pool) => pool.give_back(page),
            None => drop(page),
        }
    }
}

/// Whether the pages of the area are promised to it.
fn is_promised(vma: &Vma) -> bool {
    vma.flags().contains(VmFlags::HUGETLB) && !vma.flags().contains(VmFlags::NORESERVE)
}
