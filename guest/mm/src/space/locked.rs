//! Locking in memory (Linux `mm/mlock.c`): the areas' part. Touching the pages is the caller's.

use super::unmap::{checked, pages_of};
use super::{Errno, Mm, Usage, Vm};
use crate::addr::VirtAddr;
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::vma::VmFlags;

impl<'p, M: Machine> Vm<'p, M> {
    /// Says of the areas from `addr` on for `len` bytes whether they stay in memory.
    ///
    /// # Errors
    /// `Einval` for a bad range; `Enomem` where nothing is mapped, or without memory to divide an area.
    pub(crate) fn set_locked<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        lock: bool,
        frames: &A,
    ) -> Result<(), Errno> {
        let (first, end) = checked(addr, len)?;
        let mut areas = self.write_areas(mm, 2, frames)?;
        self.covered(&areas, first, end)?;
        self.divide(mm, &mut areas, pages_of(first, end)?, frames)?;
        self.each_area(&mut areas, first, end, |vma| {
            let old = vma.flags();
            let new = if lock { old | VmFlags::LOCKED } else { old - VmFlags::LOCKED };
            match (old.contains(VmFlags::LOCKED), lock) {
                (false, true) => mm.counters.add_usage(Usage::Locked, vma.pages()),
                (true, false) => mm.counters.sub_usage(Usage::Locked, vma.pages()),
                _ => {}
            }
            Ok(new)
        })?;
        self.join(&mut areas, first, end);
        Ok(())
    }
}
