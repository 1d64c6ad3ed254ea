//! Advice (Linux `mm/madvise.c`).

use super::advised::Walk;
use super::unmap::{checked, pages_of};
use super::zap::Tables;
use super::{Errno, Mm, Vm};
use crate::addr::{PAGE_SHIFT, VirtAddr};
use crate::cache::FileAdvice;
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::vma::VmFlags;

/// What is known about the use of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Nothing special.
    Normal,
    /// It will be read at random.
    Random,
    /// It will be read in order.
    Sequential,
    /// It will be read soon: what of it is in files is brought into memory.
    WillNeed,
    /// What it holds is not needed: pages go, the area stays.
    DontNeed,
    /// What it holds is not needed: pages may go until they are written again.
    Free,
    /// It is not needed soon.
    Cold,
    /// A clone does not get it.
    DontFork,
    /// A clone gets it.
    DoFork,
    /// It wants huge pages.
    HugePage,
    /// It wants no huge pages.
    NoHugePage,
}

impl Advice {
    /// The flags of an area with `old` ones that is so advised.
    fn apply(self, old: VmFlags) -> VmFlags {
        let reads = VmFlags::SEQ_READ | VmFlags::RAND_READ;
        let huge = VmFlags::HUGEPAGE | VmFlags::NOHUGEPAGE;
        match self {
            Self::Normal => old - reads,
            Self::Random => (old - reads) | VmFlags::RAND_READ,
            Self::Sequential => (old - reads) | VmFlags::SEQ_READ,
            Self::WillNeed | Self::DontNeed | Self::Free | Self::Cold => old,
            Self::DontFork => old | VmFlags::DONTCOPY,
            Self::DoFork => old - VmFlags::DONTCOPY,
            Self::HugePage => (old - huge) | VmFlags::HUGEPAGE,
            Self::NoHugePage => (old - huge) | VmFlags::NOHUGEPAGE,
        }
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Takes advice about the areas from `addr` on for `len` bytes (Linux `madvise`).
    ///
    /// # Errors
    /// `Einval` for a bad range, for locked pages that would go, and for pages of files that are to be free; `Enomem` where nothing is mapped (what is mapped is
    /// advised all the same), or without memory to divide an area.
    pub fn madvise<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        advice: Advice,
        frames: &A,
    ) -> Result<(), Errno> {
        if len == 0 && addr.page_offset() == 0 {
            return Ok(());
        }
        match advice {
            Advice::Free => return self.free_lazily(mm, Walk::new(addr, len)?, frames),
            Advice::Cold => return self.cool(mm, Walk::new(addr, len)?, frames),
            _ => {}
        }
        let (first, end) = checked(addr, len)?;
        if advice == Advice::WillNeed {
            return self.will_need(mm, first, end, frames);
        }
        let mut areas = self.write_areas(mm, 2, frames)?;
        let covered = self.covered(&areas, first, end);
        if advice == Advice::DontNeed {
            let mut at = first;
            while let Some(vma) = areas.next_from(at).filter(|vma| vma.start() < end) {
                if vma.flags().intersects(VmFlags::LOCKED | VmFlags::HUGETLB) {
                    return Err(Errno::Einval);
                }
                let part = pages_of(vma.start().max(first), vma.end().min(end))?;
                at = vma.end();
                self.split_borders(mm, part, frames)?;
                self.zap(mm, part, Tables::Keep, frames)?;
            }
            return covered;
        }
        self.divide(mm, &mut areas, pages_of(first, end)?, frames)?;
        self.each_area(&mut areas, first, end, |vma| Ok(advice.apply(vma.flags())))?;
        self.join(&mut areas, first, end);
        covered
    }

    /// Has files read what pages `first..end` show of them. Waits for no page; only where this code can wait.
    fn will_need<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        first: u64,
        end: u64,
        frames: &A,
    ) -> Result<(), Errno> {
        self.each_mapped(mm, first, end, |area, file, (from, to)| {
            if let Some(file) = file {
                let pos = (area.pgoff + (from - area.start)) << PAGE_SHIFT;
                let bytes = (to - from) << PAGE_SHIFT;
                self.cache().fadvise(file, pos, bytes, FileAdvice::WillNeed, frames);
            }
            Ok(())
        })
    }
}
