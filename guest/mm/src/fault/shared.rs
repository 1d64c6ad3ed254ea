//! Pages of shared memory (Linux `do_shared_fault`, `shmem_fault`).

use super::{Flavour, GFP_PAGE, Stop, Touch};
use crate::addr::Order;
use crate::folio::{Folio, FolioFlags};
use crate::pgtable::PteSlot;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Level, Machine, Pte, PteBits, PteCodec, SwapEntry};
use crate::shmem::{AddError, Found, Shmem};
use crate::space::{Codec, Rss};
use crate::vma::VmFlags;
use crate::vmstat::NodeStat;

impl<'p, M: Machine, A: FrameAllocator<'p>> Touch<'_, 'p, M, A> {
    /// Maps the page of `object` in the empty entry in `slot`; the page is made if nobody has touched it.
    pub(super) fn shared_page(&self, slot: PteSlot<'p>, object: &Shmem) -> Result<Flavour, Stop> {
        let (cpu, table) = (self.vm.machine().cpu(), self.vm.frame_table().ok_or(Stop::Corrupt)?);
        let index = self.vma.index_of(self.vpn);
        let folio = match object.find(cpu, table, index) {
            Found::Page(folio) => folio,
            Found::Swapped(place) => self.swapped_shared_page(object, index, place)?,
            Found::Nothing => self.new_shared_page(object, index)?,
            Found::Other(folio) => {
                self.vm.swap().put(folio);
                return Err(Stop::Again);
            }
        };
        let locked = self.vm.lock_table(slot);
        if !slot.load().is_none() {
            drop(locked);
            return self.lost(folio);
        }
        if folio.add_mapped(1) {
            self.vm.stat().grow(cpu, folio.node(), NodeStat::FileMapped, 1);
        }
        self.mm.counters().add_rss(Rss::Shmem, 1);
        if self.vma.flags().contains(VmFlags::LOCKED) {
            self.vm.count_mlocked(folio, Level::PTE, true);
        }
        let mut bits = self.rights();
        bits.set(PteBits::DIRTY, self.write);
        slot.set(Codec::<M>::present(folio.pfn().addr(), bits));
        Ok(Flavour::Shared)
    }

    /// The page at `index` of `object`, which is in swap, with a reference (Linux `shmem_swapin_folio`).
    fn swapped_shared_page(&self, object: &Shmem, index: u64, place: SwapEntry) -> Result<Folio<'p>, Stop> {
        let swap = self.vm.swap();
        let folio = swap.lookup(place).ok_or(Stop::InSwap(place))?;
        if !folio.try_lock() {
            swap.put(folio);
            return Err(Stop::InSwap(place));
        }
        let result = if swap.entry_of(folio) != Some(place) {
            Err(Stop::Again)
        } else if folio.flags().contains(FolioFlags::WRITEBACK) {
            Err(Stop::InSwap(place))
        } else if !folio.is_uptodate() {
            // It could not be read.
            Err(Stop::NoPoolPage)
        } else {
            swap.used(folio, None);
            self.vm.swap_in_shared(object, folio, (index, place)).then_some(folio).ok_or(Stop::Again)
        };
        folio.unlock(self.vm.machine().cpu());
        if result.is_err() {
            swap.put(folio);
        }
        result
    }

    /// A page of zeroes at `index` of `object`.
    fn new_shared_page(&self, object: &Shmem, index: u64) -> Result<Folio<'p>, Stop> {
        let (cpu, stat) = (self.vm.machine().cpu(), self.vm.stat());
        let table = self.vm.frame_table().ok_or(Stop::Corrupt)?;
        let nodes = self.vm.nodes().ok_or(Stop::Corrupt)?;
        let (pfn, _) = self.frames.alloc(GFP_PAGE | GfpFlags::__GFP_ZERO, Order::ZERO)?.into_raw();
        match object.add(nodes, self.frames, table, pfn, index) {
            Ok(folio) => {
                self.vm.lru().add(cpu, folio);
                for what in [NodeStat::Shmem, NodeStat::FilePages] {
                    stat.grow(cpu, folio.node(), what, 1);
                }
                Ok(folio)
            }
            Err(error) => {
                // SAFETY: the frame was allocated above, and the object did not take it.
                let frames = unsafe { self.vm.phys().frames_from_raw(pfn, Order::ZERO) };
                if let Err(error) = self.frames.free(frames) {
                    self.vm.corrupt(&error);
                }
                Err(if error == AddError::Busy { Stop::Again } else { Stop::NoMemory })
            }
        }
    }

    /// Shared memory may be written, but its entry in `slot` does not say so yet.
    pub(super) fn share_write(&self, slot: PteSlot<'p>, entry: Pte) -> Result<Flavour, Stop> {
        let _locked = self.vm.lock_table(slot);
        let now = slot.load();
        if !Codec::<M>::is_present(now) || Codec::<M>::addr(now) != Codec::<M>::addr(entry) {
            return Err(Stop::Again);
        }
        let more = PteBits::WRITE | PteBits::DIRTY | PteBits::ACCESSED;
        slot.update(|pte| Codec::<M>::set(pte, more));
        Ok(Flavour::Shared)
    }
}
