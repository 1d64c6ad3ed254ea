//! Reclaiming pages because their owner says that they are not needed soon (Linux `MADV_PAGEOUT`, `reclaim_pages`).

use super::{Reclaim, Scan};
use crate::addr::{Order, VirtAddr};
use crate::errno::Errno;
use crate::frame::ZoneKind;
use crate::lru::Taken;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::Machine;
use crate::space::{Mm, Walk, may_be_reclaimed};
use crate::vmstat::VmEvent;

impl<'p, M: Machine> Reclaim<'p, M> {
    /// Takes the pages from `addr` on for `len` bytes that no other context has, whether they were used or not; those that
    /// went to swap before and are written by now are freed; tables for huge pages that are divided come from `frames`. How many pages are free or on their way.
    ///
    /// # Errors
    /// `Einval` for a bad range, and for areas that are locked or have pages from a pool; `Enomem` where nothing is mapped:
    /// the rest has been looked at. `Ecorrupt`.
    pub fn page_out<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        self.page_out_range(mm, (addr, len), true, frames)
    }

    /// As [`Reclaim::page_out`], of pages that other contexts have, too.
    ///
    /// # Errors
    /// As there.
    pub fn page_out_shared<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        self.page_out_range(mm, (addr, len), false, frames)
    }

    fn page_out_range<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        (addr, len): (VirtAddr, u64),
        alone: bool,
        frames: &A,
    ) -> Result<u64, Errno> {
        let mut walk = Walk::new(addr, len)?;
        let (cpu, stat) = (self.vm.machine().cpu(), self.vm.stat());
        self.vm.drain_lists();
        let split = self.vm.split_pages(mm, &walk, frames)?;
        stat.count(cpu, VmEvent::ThpSwpoutFallback, split);
        let mut scan = Scan::new(GfpFlags::GFP_KERNEL, Order::ZERO, ZoneKind::Movable, 0, false);
        scan.ignore_references = true;
        let mut sent = 0;
        loop {
            let mut taken = Taken::default();
            if !self
                .vm
                .step(mm, &mut walk, may_be_reclaimed, |part| self.vm.isolate(mm, part, alone, &mut taken))?
            {
                break;
            }
            let done = self.reclaim_all(&scan, &taken);
            stat.count(cpu, VmEvent::PgActivate, done.activated);
            sent += done.reclaimed + done.written;
        }
        walk.outcome().map(|()| sent)
    }
}
