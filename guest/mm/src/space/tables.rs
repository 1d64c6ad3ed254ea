//! Tables of a context: where they come from, and how many it has.

use super::{Mm, Vm};
use crate::addr::{Order, Pfn};
use crate::pgtable::TableFrames;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::Machine;
use crate::vmstat::NodeStat;

/// Tables are made with a lock held, so their allocation must not wait.
const GFP_PGTABLE: GfpFlags = GfpFlags::GFP_KERNEL_ACCOUNT.difference(GfpFlags::__GFP_DIRECT_RECLAIM);

/// Frames for the tables of one context.
pub(crate) struct MmTables<'a, 'p, M: Machine, A> {
    vm: &'a Vm<'p, M>,
    mm: &'a Mm<'p, M>,
    frames: &'a A,
}

impl<'a, 'p, M: Machine, A: FrameAllocator<'p>> MmTables<'a, 'p, M, A> {
    /// Those of `mm`, from `frames`.
    #[inline]
    pub(crate) fn new(vm: &'a Vm<'p, M>, mm: &'a Mm<'p, M>, frames: &'a A) -> Self {
        Self { vm, mm, frames }
    }

    fn node(&self, pfn: Pfn) -> crate::addr::NodeId {
        let block = self.vm.phys().frame_table().and_then(|table| table.lookup(pfn));
        block.map_or(crate::addr::NodeId::ZERO, |(_, block)| block.zone().node)
    }
}

// SAFETY: the allocator gives a block to one owner; kernel memory is in the direct map.
unsafe impl<'p, M: Machine, A: FrameAllocator<'p>> TableFrames for MmTables<'_, 'p, M, A> {
    fn alloc_table(&self) -> Option<Pfn> {
        let (pfn, _) = self.frames.alloc(GFP_PGTABLE, Order::ZERO).ok()?.into_raw();
        self.mm.counters().add_table();
        let stat = self.vm.stat();
        stat.grow(self.vm.machine().cpu(), self.node(pfn), NodeStat::PageTables, 1);
        Some(pfn)
    }

    unsafe fn free_table(&self, pfn: Pfn) {
        let stat = self.vm.stat();
        stat.shrink(self.vm.machine().cpu(), self.node(pfn), NodeStat::PageTables, 1);
        self.mm.counters().sub_table();
        // SAFETY: the caller gives back what `alloc_table` gave.
        let frames = unsafe { self.vm.phys().frames_from_raw(pfn, Order::ZERO) };
        if let Err(error) = self.frames.free(frames) {
            self.vm.corrupt(&error);
        }
    }
}
