//! Taking the memory of a context whose end is certain, before its tasks have gone (Linux `__oom_reap_task_mm`).

use super::unmap::pages_of;
use super::zap::Tables;
use super::{Errno, Mm, Vm};
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::vma::VmFlags;
use core::sync::atomic::Ordering;

impl<'p, M: Machine> Vm<'p, M> {
    /// Empties what is private in `mm`, which is unstable from then on; areas and tables stay. Nobody who still runs in the context may go on after his
    /// next fault: his memory has become zeroes. Pages of pools stay, too. How many pages went.
    ///
    /// # Errors
    /// `Ecorrupt`.
    pub fn reap<A: FrameAllocator<'p>>(&self, mm: &Mm<'p, M>, frames: &A) -> Result<u64, Errno> {
        let before = mm.counters.resident();
        // Nobody faults meanwhile. What a write lock usually needs is not needed here: there is no memory to be had.
        let areas = mm.areas.write(self.machine().cpu());
        mm.unstable.store(true, Ordering::Release);
        mm.flush_evicted();
        for vma in areas.iter(0..u64::MAX) {
            let flags = vma.flags();
            if flags.intersects(VmFlags::HUGETLB | VmFlags::SHARED) {
                continue;
            }
            if flags.contains(VmFlags::LOCKED) {
                self.count_locked(mm, vma, false);
            }
            self.zap(mm, pages_of(vma.start(), vma.end())?, Tables::Keep, frames)?;
        }
        Ok(before.saturating_sub(mm.counters.resident()))
    }
}
