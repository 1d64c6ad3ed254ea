//! Moving and copying memory within a context: another size or another place (Linux `mremap`), and a snapshot that
//! shares pages with what it was taken of.
//!
//! Pages keep their place in the memory behind the area, so reverse mapping finds them at the new address. All that may
//! be refused, and the tables at the new place, come before the first entry changes: a move never stops half way.

use super::map::{MapFlags, MapRequest};
use super::unmap::{checked, pages_of, usages};
use super::{Codec, Errno, Mm, MmTables, Rss, Vm};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, align_up};
use crate::folio::FolioFlags;
use crate::mutant::planted;
use crate::pgtable::PageRange;
use crate::phys::FrameAllocator;
use crate::port::{Level, Machine, Pte, PteBits, PteCodec, PteView};
use crate::vma::{Areas, Backing, VmFlags, VmaInit};
use core::ops::Range;

/// Whether what does not fit where it is may go elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moving {
    /// It stays.
    Stay,
    /// It may go (`MREMAP_MAYMOVE`).
    May,
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Changes the size of what is mapped from `addr` on for `old` bytes to `new` bytes (Linux `mremap`); where it is
    /// then.
    ///
    /// # Errors
    /// `Einval` for a bad range, pages of a pool, or shared memory that is to grow; `Efault` where not all of it is one
    /// area; `Enomem` without room, memory, or more promises, or with too many areas. Nothing has changed then, but huge
    /// pages may have been divided.
    pub fn mremap<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        old: u64,
        new: u64,
        moving: Moving,
        frames: &A,
    ) -> Result<VirtAddr, Errno> {
        let (first, end) = checked(addr, old)?;
        let wanted = align_up(new, PAGE_SIZE).filter(|new| *new != 0).ok_or(Errno::Einval)? >> PAGE_SHIFT;
        let mut areas = self.write_areas(mm, 3, frames)?;
        let vma = areas.find(first).filter(|vma| vma.end() >= end).ok_or(Errno::Efault)?;
        if vma.flags().contains(VmFlags::HUGETLB) {
            return Err(Errno::Einval);
        }
        let (start, is_end, flags, kind) = (vma.start(), vma.end() == end, vma.flags(), vma.kind());
        let pages = end - first;
        if wanted == pages {
            return Ok(addr);
        }
        if wanted < pages {
            self.unmap_pages(mm, &mut areas, first + wanted, end, frames)?;
            return Ok(addr);
        }
        if matches!(vma.backing(), Backing::Shmem(_)) {
            // An object has the size it was made with.
            return Err(Errno::Einval);
        }
        let more = wanted - pages;
        let limit = mm.layout.limit_above(first);
        let has_room = areas.start_after(end).unwrap_or(limit) >= first + wanted && first + wanted <= limit;
        if is_end && has_room {
            if flags.contains(VmFlags::ACCOUNT) && !self.charge(mm, more) {
                return Err(Errno::Enomem);
            }
            if !areas.set_end(self.machine().cpu(), start, first + wanted) {
                self.uncharge(mm, more);
                return Err(Errno::Enomem);
            }
            usages(flags, kind).for_each(|usage| mm.counters.add_usage(usage, more));
            self.join(&mut areas, first, first + wanted);
            return Ok(addr);
        }
        if moving == Moving::Stay {
            return Err(Errno::Enomem);
        }
        self.divide(mm, &mut areas, pages_of(first, end)?, frames)?;
        let moved = self.copy_area(mm, &mut areas, first..end, wanted, What::Move, frames);
        if moved.is_err() {
            self.join(&mut areas, first, end);
        }
        let to = moved?;
        self.hand_over(&mut areas, first..end)?;
        self.unmap_areas(mm, &mut areas, first, end, frames)?;
        Ok(VirtAddr::truncate(to << PAGE_SHIFT))
    }

    /// Maps what is mapped from `addr` on for `len` bytes a second time, as it is now: until one of the two is written,
    /// they share their pages. Where the second is; its pages are not locked.
    ///
    /// # Errors
    /// As [`Vm::mremap`].
    pub fn snapshot<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        addr: VirtAddr,
        len: u64,
        frames: &A,
    ) -> Result<VirtAddr, Errno> {
        let (first, end) = checked(addr, len)?;
        let mut areas = self.write_areas(mm, 3, frames)?;
        let vma = areas.find(first).filter(|vma| vma.end() >= end).ok_or(Errno::Efault)?;
        if vma.backing() != Backing::Anon {
            return Err(Errno::Einval);
        }
        let to = self.copy_area(mm, &mut areas, first..end, end - first, What::Share, frames)?;
        Ok(VirtAddr::truncate(to << PAGE_SHIFT))
    }

    /// Makes an area of `pages` pages for the memory that pages `from` of one area show, and moves or shares their
    /// entries; its first page.
    ///
    /// # Errors
    /// `Enomem`: no entry has moved then.
    fn copy_area<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        from: Range<u64>,
        pages: u64,
        what: What,
        frames: &A,
    ) -> Result<u64, Errno> {
        let (first, old) = (from.start, from.end - from.start);
        let vma = areas.find(first).ok_or(Errno::Efault)?;
        let (init, pgoff) = (vma.init(), vma.index_of(first));
        let (flags, more, gone) = match what {
            // It takes its promises along. Its area goes, so there is one more on the way only.
            What::Move => (init.flags, pages - old, 1),
            // As a clone's pages, these are not locked.
            What::Share => (init.flags - VmFlags::LOCKED, pages, 0),
        };
        if areas.len() - gone >= u64::from(self.settings.max_map_count()) {
            return Err(Errno::Enomem);
        }
        let promised = if flags.contains(VmFlags::ACCOUNT) { more } else { 0 };
        if promised != 0 && !self.charge(mm, promised) {
            return Err(Errno::Enomem);
        }
        let made = self.twin(mm, areas, first, pages, &VmaInit { pgoff, flags, ..init });
        let to = made.inspect_err(|_| self.uncharge(mm, promised))?;
        if let Err(error) = self.transfer(mm, first, old, to, what, frames) {
            self.uncharge(mm, promised);
            self.hand_over(areas, to..to + pages)?;
            self.unmap_areas(mm, areas, to, to + pages, frames)?;
            return Err(error);
        }
        Ok(to)
    }

    /// Makes an area of `pages` pages, as `init` but for its place, for the memory that page `first` shows; its first
    /// page. What it needs was promised.
    fn twin(
        &self,
        mm: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        first: u64,
        pages: u64,
        init: &VmaInit,
    ) -> Result<u64, Errno> {
        let in_overlay = first >= super::layout::OVERLAY_START >> PAGE_SHIFT;
        let mut request = MapRequest { vm: init.flags, ..MapRequest::anon(pages * PAGE_SIZE) };
        request.flags.set(MapFlags::OVERLAY, in_overlay);
        let to = self.unmapped_area(mm, areas, &request, pages).ok_or(Errno::Enomem)?;
        areas.insert(&VmaInit { start: to, end: to + pages, ..*init }).ok_or(Errno::Enomem)?;
        usages(init.flags, init.kind).for_each(|usage| mm.counters.add_usage(usage, pages));
        self.hold(init.backing);
        if let Some((twin, vma)) = areas.find(to).zip(areas.find(first)) {
            twin.share_anchor(self.machine().cpu(), vma);
            twin.link_to_object(self.machine().cpu());
        }
        Ok(to)
    }

    /// Moves or shares the entries of `pages` pages from page `from` on to page `to`, where nothing is mapped.
    fn transfer<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        from: u64,
        pages: u64,
        to: u64,
        what: What,
        frames: &A,
    ) -> Result<(), Errno> {
        let range = pages_of(from, from + pages)?;
        self.split_borders(mm, range, frames)?;
        if !from.abs_diff(to).is_multiple_of(Level::PMD.pages()) {
            self.split_all(mm, range, frames)?;
        }
        let (tree, source) = (mm.tree(), MmTables::new(self, mm, frames));
        let moved =
            |part: PageRange| VirtAddr::truncate((part.start().vpn().get() - from + to) << PAGE_SHIFT);
        let mut made = Ok(());
        tree.scan_while(range, |_, level, part| {
            made = tree.populate(moved(part), level, &source).map(drop);
            made.is_ok()
        })?;
        made?;
        let mut gather = tree.gather_on(&source, &mm.cpus);
        let (mut shared, mut swapped, mut full) = (0, 0, false);
        tree.scan(range, |slot, level, part| {
            // The tables were made above.
            let Ok(twin) = tree.populate(moved(part), level, &source) else { return };
            match what {
                What::Move => {
                    let old = slot.take();
                    if !planted("vm::flush.move") {
                        gather.changed(part, old, Pte::NONE);
                    }
                    twin.set(old);
                }
                What::Share => {
                    if let PteView::Swap { entry, .. } = Codec::<M>::view(slot.load()) {
                        if self.swap().duplicate(entry, frames).is_err() {
                            full = true;
                            return;
                        }
                        swapped += 1;
                    }
                    let (old, new) = slot.update(|pte| {
                        Codec::<M>::with_bits(
                            pte,
                            Codec::<M>::bits(pte) - PteBits::WRITE - PteBits::EXCLUSIVE,
                        )
                    });
                    if !planted("vm::flush.snapshot") {
                        gather.changed(part, old, new);
                    }
                    if let Some(folio) =
                        self.folio_of(new).filter(|f| !f.flags().contains(FolioFlags::HUGETLB))
                    {
                        folio.get(1);
                        self.add_rmap(folio, level);
                        shared += level.pages();
                    }
                    twin.set(new);
                }
            }
        })?;
        mm.counters.add_rss(Rss::Anon, shared);
        mm.counters.add_rss(Rss::Swap, swapped);
        let _ = gather.finish();
        if full { Err(Errno::Enomem) } else { Ok(()) }
    }

    /// Divides every huge page in `range`.
    fn split_all<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        range: PageRange,
        frames: &A,
    ) -> Result<(), Errno> {
        let huge = Level::PMD.pages();
        let first = range.start().vpn().get();
        let starts = (first.next_multiple_of(huge)..first + range.pages()).step_by(huge as usize);
        starts.into_iter().try_for_each(|vpn| self.split_huge(mm, vpn, frames))
    }
}

/// What becomes of the entries at the old place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Move,
    Share,
}
