//! Locking in memory (Linux `mm/mlock.c`): the areas' part. Touching the pages is the caller's.

use super::unmap::{checked, pages_of};
use super::{Errno, Mm, Usage, Vm};
use crate::addr::VirtAddr;
use crate::folio::Folio;
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine};
use crate::vma::{VmFlags, Vma};
use crate::vmstat::{NodeStat, VmEvent, ZoneStat};

impl<'p, M: Machine> Vm<'p, M> {
    /// Counts the pages that an area maps as locked from now on, or as no longer locked.
    pub(super) fn count_locked(&self, mm: &Mm<'p, M>, vma: &Vma, lock: bool) {
        let Ok(range) = pages_of(vma.start(), vma.end()) else { return };
        // A corrupt table is found by whoever changes it.
        let _ = mm.tree().scan(range, |slot, level, _| {
            if let Some(folio) = self.folio_of(slot.load()) {
                self.count_mlocked(folio, level, lock);
            }
        });
    }

    /// Counts what one entry of `level` maps as locked, or as no longer locked.
    pub(crate) fn count_mlocked(&self, folio: Folio<'_>, level: Level, lock: bool) {
        let (cpu, stat, pages) = (self.machine().cpu(), self.stat(), level.pages());
        self.lru().set_unevictable(cpu, folio, lock);
        if lock {
            stat.grow(cpu, folio.node(), NodeStat::Mlocked, pages);
            stat.grow_zone(cpu, folio.zone(), ZoneStat::Mlocked, pages);
            stat.count(cpu, VmEvent::PgMlocked, pages);
        } else {
            stat.shrink(cpu, folio.node(), NodeStat::Mlocked, pages);
            stat.shrink_zone(cpu, folio.zone(), ZoneStat::Mlocked, pages);
            stat.count(cpu, VmEvent::PgMunlocked, pages);
        }
    }

    /// Says of the areas from `addr` on for `len` bytes whether they stay in memory. Pages of pools do anyway, and their areas
    /// never say so (Linux `mlock_fixup`).
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
            if old.contains(VmFlags::HUGETLB) {
                return Ok(old);
            }
            let new = if lock { old | VmFlags::LOCKED } else { old - VmFlags::LOCKED };
            match (old.contains(VmFlags::LOCKED), lock) {
                (false, true) => mm.counters.add_usage(Usage::Locked, vma.pages()),
                (true, false) => mm.counters.sub_usage(Usage::Locked, vma.pages()),
                _ => return Ok(new),
            }
            self.count_locked(mm, vma, lock);
            Ok(new)
        })?;
        self.join(&mut areas, first, end);
        Ok(())
    }
}
