//! Pages that are in swap (Linux `do_swap_page`).
//!
//! A page is mapped from the cache, locked, and only while its slot is still its own. What is not there, or what somebody
//! else has, is waited for outside ([`Vm::wait_for_swap`]). An entry that said exclusive does so again; one that did not does if
//! nobody else can have the page: the entry was the last to name the slot, and the slot is given up.

use super::{Flavour, Stop, Touch};
use crate::addr::{PAGE_SHIFT, VirtAddr};
use crate::folio::{Folio, FolioFlags, Mapping};
use crate::mutant::planted;
use crate::pgtable::PteSlot;
use crate::phys::FrameAllocator;
use crate::port::{Cpu, Level, Machine, Pte, PteBits, PteCodec, PteView, SwapEntry};
use crate::space::{Codec, Errno, Mm, Rss, Vm};
use crate::swap::{AreaMemory, Beside, Brought, Started, Swap};
use crate::vma::VmFlags;
use crate::vmstat::VmEvent;

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// Maps the page that `entry`, which is in `slot`, says is in swap.
    pub(super) fn swapped(&self, slot: PteSlot<'p>, entry: Pte) -> Result<Flavour, Stop> {
        let PteView::Swap { entry: place, .. } = Codec::<M>::view(entry) else { return Err(Stop::Corrupt) };
        let swap = self.vm.swap();
        let Some(folio) = swap.lookup(place) else { return Err(Stop::InSwap(place)) };
        if !folio.try_lock() {
            swap.put(folio);
            return Err(Stop::InSwap(place));
        }
        let result = if swap.entry_of(folio) != Some(place) {
            Err(Stop::Again)
        } else if !folio.is_uptodate() {
            // It could not be read.
            Err(Stop::NoPoolPage)
        } else {
            swap.used(folio, Some((&self.vma.swap_window, self.vpn)));
            self.map_swapped(slot, place, folio)
        };
        folio.unlock(self.vm.machine().cpu());
        swap.put(folio);
        result
    }

    /// Maps `folio`, which is locked and has slot `place`, and what was read ahead beside it.
    fn map_swapped(&self, slot: PteSlot<'p>, place: SwapEntry, folio: Folio<'p>) -> Result<Flavour, Stop> {
        let counters = self.mm.counters();
        let anchor = self.anchor()?;
        let locked = self.vm.lock_table(slot);
        let now = slot.load();
        if !matches!(Codec::<M>::view(now), PteView::Swap { entry, .. } if entry == place) {
            return Err(Stop::Again);
        }
        let (was, vpn, write) = (Codec::<M>::bits(now), self.vpn, self.write);
        self.enter_swapped(Coming { slot, vpn, was, place, folio, anchor, write })?;
        counters.add_rss(Rss::Anon, 1);
        counters.sub_rss(Rss::Swap, 1);
        self.map_ahead(anchor)?;
        drop(locked);
        Ok(Flavour::Swapped)
    }

    /// Makes the entry of a page that came, whose table is locked; who calls counts it.
    pub(super) fn enter_swapped(&self, coming: Coming<'p>) -> Result<(), Stop> {
        let Coming { slot, vpn, was, place, folio, anchor, write } = coming;
        let swap = self.vm.swap();
        swap.free_slot(place).map_err(|_| Stop::Corrupt)?;
        let is_mlocked = self.vma.flags().contains(VmFlags::LOCKED);
        // Beside the cache and us, whoever waited for it has it.
        let others = u32::from(self.resumed && !planted("vm::reclaim_replay.written_keeps_its_slot"));
        let alone = folio.refs() == 2 + others;
        if swap.is_half_full() || is_mlocked || (write && alone) {
            swap.try_remove(folio);
        }
        let is_sole = folio.refs() == 1;
        if folio.mapping() == Mapping::None {
            folio.set_owner(Mapping::Anon(anchor), self.vma.index_of(vpn));
        }
        let is_exclusive =
            was.contains(PteBits::EXCLUSIVE) || is_sole || planted("vm::swap.always_exclusive");
        folio.get(1);
        self.vm.add_rmap(folio, Level::PTE);
        if is_mlocked {
            self.vm.count_mlocked(folio, Level::PTE, true);
        }
        let mut bits = self.rights() - PteBits::WRITE;
        bits.set(PteBits::EXCLUSIVE, is_exclusive);
        bits |= was & PteBits::SOFT_DIRTY;
        if write && is_exclusive {
            bits |= (self.rights() & PteBits::WRITE) | PteBits::DIRTY;
        }
        slot.set(Codec::<M>::present(folio.pfn().addr(), bits));
        Ok(())
    }
}

/// A page that comes back: it is locked, the caller has a reference, and the entry in `slot` names its place.
pub(super) struct Coming<'p> {
    pub slot: PteSlot<'p>,
    pub vpn: u64,
    /// What the entry says beside that.
    pub was: PteBits,
    pub place: SwapEntry,
    pub folio: Folio<'p>,
    /// Of the area.
    pub anchor: u64,
    /// It is written to at once.
    pub write: bool,
}

/// Keeps the page that was waited for in memory, until the access was tried again.
#[must_use = "it is kept until this is dropped"]
pub struct Held<'p, M: Machine> {
    swap: &'p Swap<'p, M>,
    folio: Folio<'p>,
}

impl<M: Machine> Drop for Held<'_, M> {
    fn drop(&mut self) {
        self.swap.put(self.folio);
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Brings everything in area `area` back and forgets it; its memory (Linux `swapoff`).
    ///
    /// # Errors
    /// `Einval`: it is not on. `Enomem`, `Eio`: not all of it could be brought back; it stays on, and nothing is lost.
    pub fn swapoff<A: FrameAllocator<'p>>(&self, area: u32, frames: &A) -> Result<AreaMemory, Errno> {
        let swap = self.swap();
        let used = swap.areas().find(|info| info.area == area).map_or(0, |info| info.used);
        swap.close(area)?;
        let result = if self.has_room_for(used) { self.bring_back(area, frames) } else { Err(Errno::Enomem) };
        if let Err(error) = result {
            swap.reopen(area);
            return Err(error);
        }
        swap.finish_off(area).ok_or(Errno::Einval)
    }

    fn bring_back<A: FrameAllocator<'p>>(&self, area: u32, frames: &A) -> Result<(), Errno> {
        // Contexts that are cloned meanwhile may get entries behind where this is: so until nothing is left.
        while self.swap().next_taken(area, 0).is_some() {
            for mm in self.mms() {
                let mut from = 0;
                while let Some((vpn, entry)) = self.next_swapped(mm, from, area)? {
                    from = vpn;
                    let held = self.wait_for_swap(mm, vpn, entry, frames)?;
                    self.unuse(mm, vpn, frames)?;
                    drop(held);
                }
            }
            while self.unuse_shared(area, frames)? {}
            self.empty_cache(area);
        }
        Ok(())
    }

    /// Maps what the entry of page `vpn` has in swap, whatever rights its area has now.
    fn unuse<A: FrameAllocator<'p>>(&self, mm: &Mm<'p, M>, vpn: u64, frames: &A) -> Result<(), Errno> {
        let areas = mm.areas().read(self.machine().cpu());
        let Some(vma) = areas.find(vpn) else { return Ok(()) };
        let Some(found) = mm.tree().lookup(VirtAddr::truncate(vpn << PAGE_SHIFT)) else { return Ok(()) };
        let entry = found.slot.load();
        if !matches!(Codec::<M>::view(entry), PteView::Swap { .. }) {
            return Ok(());
        }
        let ground = self.ground().ok_or(Errno::Ecorrupt)?;
        let write = false;
        let touch = Touch { vm: self, mm, areas: &areas, vma, ground, vpn, write, resumed: true, frames };
        match touch.swapped(found.slot, entry) {
            Ok(_) | Err(Stop::Again | Stop::InSwap(_) | Stop::Wait(_)) => Ok(()),
            Err(Stop::NoMemory) => Err(Errno::Enomem),
            Err(Stop::NoPoolPage | Stop::PastEnd) => Err(Errno::Eio),
            Err(Stop::Corrupt) => Err(Errno::Ecorrupt),
        }
    }

    /// What comes with page `vpn`; `None` if its entry does not name `entry`, as in shared memory.
    #[cold]
    fn beside(&self, mm: &Mm<'p, M>, vpn: u64, entry: SwapEntry) -> Option<Beside> {
        let areas = mm.areas().read(self.machine().cpu());
        let vma = areas.find(vpn)?;
        let table = mm.tree().last_table(VirtAddr::truncate(vpn << PAGE_SHIFT))?;
        let entry_of = |vpn| match Codec::<M>::view(table.slot(vpn).load()) {
            PteView::Swap { entry, .. } => Some(entry),
            _ => None,
        };
        if entry_of(vpn) != Some(entry) {
            return None;
        }
        let first = vpn & !(Level::PMD.pages() - 1);
        let range = (vma.start().max(first), vma.end().min(first + Level::PMD.pages()));
        Some(self.swap().beside(&vma.swap_window, vpn, range, entry_of))
    }

    /// Brings the page of a slot into memory and waits until it is nobody's: what a fault with [`Fault::InSwap`](super::Fault::InSwap) needs
    /// before it is tried again, with no lock held.
    ///
    /// # Errors
    /// `Enomem`.
    pub fn wait_for_swap<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        vpn: u64,
        entry: SwapEntry,
        frames: &A,
    ) -> Result<Option<Held<'p, M>>, Errno> {
        // Whatever it was used for before: it is away for want of memory. Linux says so only of pages that were in use again
        // and again.
        let _stalled = self.machine().cpu().memstall();
        match self.swap().bring(entry, || self.beside(mm, vpn, entry), frames) {
            Ok(Brought::Folio(folio, started)) => {
                if started == Started::Yes {
                    self.stat().count(self.machine().cpu(), VmEvent::PgMajFault, 1);
                    mm.counters().count_major();
                }
                self.swap().wait_unlocked(folio, FolioFlags::LOCKED);
                if folio.mapping() == Mapping::None {
                    // Of shared memory: it leaves the cache when it is mapped, which it cannot while it is written.
                    self.swap().wait_unlocked(folio, FolioFlags::WRITEBACK);
                }
                Ok(Some(Held { swap: self.swap(), folio }))
            }
            Ok(Brought::Gone) => Ok(None),
            Err(_) => Err(Errno::Enomem),
        }
    }
}
