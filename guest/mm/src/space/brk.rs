//! The heap: one area that grows and shrinks at its end (Linux `brk`).

use super::map::MapRequest;
use super::unmap::usages;
use super::{Errno, Mm, Vm};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, align_up};
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::vma::{VmFlags, VmaKind};
use core::sync::atomic::Ordering;

/// Where the heap starts and where it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Brk {
    /// Its first byte.
    pub start: VirtAddr,
    /// The byte after its last.
    pub end: VirtAddr,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Where the heap of `mm` is.
    pub fn heap(&self, mm: &Mm<'p, M>) -> Brk {
        Brk {
            start: VirtAddr::truncate(mm.layout.heap << PAGE_SHIFT),
            end: VirtAddr::truncate(mm.brk.load(Ordering::Relaxed)),
        }
    }

    /// Moves the end of the heap to `end` (Linux `brk`).
    ///
    /// # Errors
    /// `Einval` below the start; `Enomem` where something else is mapped, or beyond what may be promised.
    pub fn set_brk<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        end: VirtAddr,
        frames: &A,
    ) -> Result<(), Errno> {
        let start = mm.layout.heap;
        if end.get() < start << PAGE_SHIFT {
            return Err(Errno::Einval);
        }
        let wanted = align_up(end.get(), PAGE_SIZE).ok_or(Errno::Enomem)? >> PAGE_SHIFT;
        let mut areas = self.write_areas(mm, 3, frames)?;
        let now = align_up(mm.brk.load(Ordering::Relaxed), PAGE_SIZE).ok_or(Errno::Enomem)? >> PAGE_SHIFT;
        if wanted < now {
            self.unmap_pages(mm, &mut areas, wanted, now, frames)?;
        }
        if wanted > now {
            let is_free = areas.start_after(now).is_none_or(|at| at >= wanted);
            if !is_free || wanted > mm.layout.mmap_base {
                return Err(Errno::Enomem);
            }
            let request = MapRequest { kind: VmaKind::Heap, ..MapRequest::anon(0) };
            // Joins what is there.
            self.add_area(mm, &mut areas, now, wanted - now, &request)?;
        }
        mm.brk.store(end.get(), Ordering::Relaxed);
        Ok(())
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Counts `pages` pages by which an area with `flags` grows at its start; whether they may be promised.
    pub(crate) fn account_growth(&self, mm: &Mm<'p, M>, flags: VmFlags, pages: u64) -> bool {
        if flags.contains(VmFlags::ACCOUNT) && !self.charge(mm, pages) {
            return false;
        }
        for usage in usages(flags, VmaKind::Stack) {
            mm.counters.add_usage(usage, pages);
        }
        true
    }
}
