//! Taking areas away (Linux `do_vmi_munmap`).

use super::zap::Tables;
use super::{Errno, Mm, Usage, Vm};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, align_up};
use crate::pgtable::PageRange;
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::sync::WriteGuard;
use crate::vma::{Areas, Supply, VmFlags, Vma, VmaKind};

/// The pages `first..end` of the lower half.
pub(super) fn pages_of(first: u64, end: u64) -> Result<PageRange, Errno> {
    let pages = end.checked_sub(first).ok_or(Errno::Einval)?;
    PageRange::new(VirtAddr::truncate(first << PAGE_SHIFT), pages).ok_or(Errno::Einval)
}

/// The pages of a range that a caller gives in bytes: the start is a multiple of the page size, the length is rounded
/// up.
///
/// # Errors
/// `Einval` for a start that is none, a length of 0, or an end beyond what contexts have.
pub(super) fn checked(addr: VirtAddr, len: u64) -> Result<(u64, u64), Errno> {
    let len = align_up(len, PAGE_SIZE).filter(|len| *len != 0).ok_or(Errno::Einval)?;
    let end = addr.get().checked_add(len).filter(|end| *end <= super::layout::TASK_SIZE);
    match end {
        Some(end) if addr.page_offset() == 0 => Ok((addr.get() >> PAGE_SHIFT, end >> PAGE_SHIFT)),
        _ => Err(Errno::Einval),
    }
}

/// So many anchors wait at most to be freed while somebody comes by who can wait.
const ANCHORS: u32 = 64;

impl<'p, M: Machine> Vm<'p, M> {
    /// The write lock of `mm`, with all that a change needs which makes `new` areas.
    ///
    /// # Errors
    /// `Enomem`.
    pub(super) fn write_areas<'a, A: FrameAllocator<'p>>(
        &self,
        mm: &'a Mm<'p, M>,
        new: usize,
        frames: &A,
    ) -> Result<WriteGuard<'a, Areas<'p>, M::Cpu>, Errno>
    where
        'p: 'a,
    {
        let objects = self.objects().ok_or(Errno::Enomem)?;
        if objects.waiting() >= ANCHORS {
            objects.settle();
        }
        loop {
            let areas = mm.areas.write(self.machine().cpu());
            mm.flush_evicted();
            let Some(need) = areas.need(new) else { return Ok(areas) };
            drop(areas);
            // Nothing is locked while memory is asked for, for the allocator may wait.
            let mut supply = Supply::new(objects, need, frames)?;
            mm.areas.write(self.machine().cpu()).stock(&mut supply);
            supply.give_back(objects);
        }
    }

    /// Takes away what is mapped from `addr` on for `len` bytes; where nothing is, nothing happens (Linux `munmap`).
    ///
    /// # Errors
    /// `Einval` for a bad range; `Enomem` without memory to divide an area or a huge page. Nothing has changed then.
    pub fn munmap<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        let (first, end) = checked(addr, len)?;
        let mut areas = self.write_areas(mm, 2, frames)?;
        self.unmap_pages(mm, &mut areas, first, end, frames)?;
        self.objects().into_iter().for_each(|objects| areas.trim(objects, false));
        Ok(())
    }

    /// Takes away pages `first..end`, under the write lock, with two areas prepared.
    pub(super) fn unmap_pages<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        first: u64,
        end: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        if areas.next_from(first).is_none_or(|vma| vma.start() >= end) {
            return Ok(());
        }
        self.divide(mm, areas, pages_of(first, end)?, frames)?;
        self.unmap_areas(mm, areas, first, end, frames)
    }

    /// Takes away the areas of pages `first..end`, whose borders are borders of areas and of entries, under the write
    /// lock. Nothing is asked for that might not be there.
    ///
    /// # Errors
    /// `Ecorrupt`.
    pub(super) fn unmap_areas<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        first: u64,
        end: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        let range = pages_of(first, end)?;
        let (objects, cpu) = (self.objects().ok_or(Errno::Enomem)?, self.machine().cpu());
        // To the end of the half: nobody maps its last page, so the tables around it are free, too.
        let top = super::layout::HALF_BYTES >> PAGE_SHIFT;
        let room = pages_of(areas.end_before(first), areas.start_after(end).unwrap_or(top))?;
        let promised = self.promised_in(mm, areas, first, end);
        for vma in areas.iter(first..end).filter(|vma| vma.flags().contains(VmFlags::LOCKED)) {
            self.count_locked(mm, vma, false);
        }
        self.zap(mm, range, Tables::Prune(room), frames)?;
        self.unpromise(promised);
        while let Some(vma) = areas.next_from(first).filter(|vma| vma.start() < end) {
            self.uncount(mm, vma, vma.pages());
            let start = vma.start();
            let backing = areas.remove(objects, cpu, start);
            backing.into_iter().for_each(|backing| self.let_go(backing));
        }
        Ok(())
    }

    /// Makes the borders of `range` borders of areas and of entries, under the write lock, with two areas prepared.
    ///
    /// # Errors
    /// `Einval` for a border inside of a page of a pool; `Enomem`. No area has changed then, but huge pages may have been
    /// divided.
    pub(super) fn divide<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        range: PageRange,
        frames: &A,
    ) -> Result<(), Errno> {
        let first = range.start().vpn().get();
        let borders = [first, first + range.pages()];
        let cuts = |vpn: &u64| areas.find(*vpn).is_some_and(|vma| vma.start() < *vpn);
        let is_whole =
            |vpn: &u64| areas.find(*vpn).is_none_or(|vma| vpn.is_multiple_of(vma.backing().pages()));
        if !borders.iter().all(is_whole) {
            return Err(Errno::Einval);
        }
        let more = borders.iter().filter(|vpn| cuts(vpn)).count() as u64;
        if areas.len() + more > u64::from(self.settings.max_map_count()) + 1 {
            return Err(Errno::Enomem);
        }
        self.split_borders(mm, range, frames)?;
        for vpn in borders {
            if !areas.split_at(self.machine().cpu(), vpn) {
                return Err(Errno::Enomem);
            }
        }
        Ok(())
    }

    /// `pages` of the area are mapped no more.
    pub(super) fn uncount(&self, mm: &Mm<'p, M>, vma: &Vma, pages: u64) {
        for usage in usages(vma.flags(), vma.kind()) {
            mm.counters.sub_usage(usage, pages);
        }
        if vma.flags().contains(VmFlags::ACCOUNT) {
            self.uncharge(mm, pages);
        }
    }
}

/// What pages of an area with these flags count as (Linux `vm_stat_account`, and `locked_vm`).
pub(super) fn usages(flags: VmFlags, kind: VmaKind) -> impl Iterator<Item = Usage> {
    let (write, exec) = (flags.contains(VmFlags::WRITE), flags.contains(VmFlags::EXEC));
    let stack = kind == VmaKind::Stack;
    let each = [
        (Usage::Total, true),
        (Usage::Exec, exec && !write && !stack),
        (Usage::Stack, stack),
        (Usage::Data, write && !flags.contains(VmFlags::SHARED) && !stack),
        (Usage::Locked, flags.contains(VmFlags::LOCKED)),
    ];
    each.into_iter().filter(|(_, counts)| *counts).map(|(usage, _)| usage)
}
