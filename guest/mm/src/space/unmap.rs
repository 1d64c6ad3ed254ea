//! Taking areas away (Linux `do_vmi_munmap`).

use super::zap::Tables;
use super::{Errno, Mm, Usage, Vm};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, align_up};
use crate::pgtable::PageRange;
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::vma::{Areas, Spare, Vma, VmFlags, VmaKind};

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

impl<'p, M: Machine> Vm<'p, M> {
    /// Takes away what is mapped from `addr` on for `len` bytes; where nothing is, nothing happens (Linux `munmap`).
    ///
    /// # Errors
    /// `Einval` for a bad range; `Enomem` without memory to divide an area or a huge page. Nothing has changed then.
    pub fn munmap<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        let (first, end) = checked(addr, len)?;
        let mut spare = self.spare(2, frames)?;
        let mut areas = mm.areas.write(self.machine().cpu());
        let result = self.unmap_pages(mm, &mut areas, first, end, &mut spare, frames);
        drop(areas);
        self.give_spare(spare);
        result
    }

    /// Takes away pages `first..end`, under the write lock. `spare` has two areas, for the borders.
    pub(super) fn unmap_pages<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<M>,
        areas: &mut Areas,
        first: u64,
        end: u64,
        spare: &mut Spare,
        frames: &A,
    ) -> Result<(), Errno> {
        if areas.next_from(first).is_none_or(|vma| vma.start() >= end) {
            return Ok(());
        }
        let divides = |vpn: u64| areas.find(vpn).is_some_and(|vma| vma.start() < vpn);
        let new = u64::from(divides(first)) + u64::from(divides(end)) ;
        if areas.len() + new > u64::from(self.settings.max_map_count()) + 1 {
            return Err(Errno::Enomem);
        }
        let range = pages_of(first, end)?;
        self.split_borders(mm, range, frames)?;
        let objects = self.objects().ok_or(Errno::Enomem)?;
        areas.split_at(objects, first, spare)?;
        areas.split_at(objects, end, spare)?;
        let room = pages_of(areas.end_before(first), areas.start_after(end))?;
        self.zap(mm, range, Tables::Prune(room), frames)?;
        while let Some(vma) = areas.next_from(first).filter(|vma| vma.start() < end) {
            self.uncount(mm, vma, vma.pages());
            let start = vma.start();
            areas.remove(objects, start, spare)?;
        }
        Ok(())
    }

    /// `pages` of the area are mapped no more.
    pub(super) fn uncount(&self, mm: &Mm<M>, vma: &Vma, pages: u64) {
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
