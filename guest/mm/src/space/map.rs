//! Making areas (Linux `do_mmap`).

use super::layout::{Layout, SLICE_BYTES, TASK_SIZE};
use super::unmap::{pages_of, usages};
use super::{Errno, Mm, Vm};
use crate::addr::{Order, PAGE_SHIFT, PAGE_SIZE, VirtAddr, align_up};
use crate::cache::{FileMode, FileRef, OpenFile};
use crate::phys::FrameAllocator;
use crate::port::Machine;
use crate::vma::{Areas, Backing, VmFlags, VmaInit, VmaKind};
use bitflags::bitflags;

bitflags! {
    /// How something is mapped: Linux's `MAP_*` flags, with its bit positions.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MapFlags: u32 {
        /// Exactly at the address, in place of what is there.
        const FIXED = 0x10;
        /// Does not count for what has been promised, unless promises are limited.
        const NORESERVE = 0x4000;
        /// Exactly at the address, unless something is there.
        const FIXED_NOREPLACE = 0x10_0000;
        /// In the overlay window. Not one of Linux's.
        const OVERLAY = 0x8000_0000;
    }
}

/// What is to be mapped.
#[derive(Clone, Copy, Debug)]
pub struct MapRequest {
    /// Where, or near where; `None` for anywhere.
    pub addr: Option<VirtAddr>,
    /// Bytes; rounded up to pages.
    pub len: u64,
    /// Rights and treatment.
    pub vm: VmFlags,
    /// How.
    pub flags: MapFlags,
    /// What for.
    pub kind: VmaKind,
    /// The memory behind it.
    pub backing: Backing,
    /// The first page of a file.
    pub pgoff: u64,
}

/// Pages of the largest file.
const MAX_PAGES: u64 = 1 << 36;

impl MapRequest {
    /// `len` bytes of private anonymous memory, anywhere, readable and writable.
    #[must_use]
    pub const fn anon(len: u64) -> Self {
        Self {
            addr: None,
            len,
            vm: VmFlags::READ.union(VmFlags::WRITE),
            flags: MapFlags::empty(),
            kind: VmaKind::Map,
            backing: Backing::Anon,
            pgoff: 0,
        }
    }

    /// `len` bytes of `file` from page `pgoff` on, anywhere, with the rights and treatment `vm`.
    #[must_use]
    pub fn file(file: &OpenFile<'_>, pgoff: u64, len: u64, vm: VmFlags) -> Self {
        Self { vm, backing: Backing::File(FileRef::of(file)), pgoff, ..Self::anon(len) }
    }
}

impl<'p, M: Machine> Vm<'p, M> {
    /// Maps something; nothing is touched yet (Linux `mmap`).
    ///
    /// # Errors
    /// `Einval` for a length of 0, an unaligned fixed address, pages of a size that there is no pool of, or pages beyond
    /// the largest file; `Eacces` for more than a file is open for; `Etxtbsy` to write to
    /// one that is swapped to; `Eperm` below `mmap_min_addr`, or in the slice of
    /// another context; `Eexist` where something is and must not be replaced; `Enomem` without room, beyond the end of
    /// what contexts have, with too many areas, or beyond what may be promised. What was there is there then, but huge
    /// pages of it may have been divided.
    pub fn mmap<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        request: &MapRequest,
        frames: &A,
    ) -> Result<VirtAddr, Errno> {
        if request.len == 0 {
            return Err(Errno::Einval);
        }
        let unit = request.backing.pages() * PAGE_SIZE;
        let len = align_up(request.len, unit).filter(|len| *len <= TASK_SIZE).ok_or(Errno::Enomem)?;
        let promise = self.promise(request, len)?;
        let request = match self.with_object(request, len, frames) {
            Ok(request) => &{ request },
            Err(error) => {
                self.unpromise(promise);
                return Err(error);
            }
        };
        let placed = self.place(mm, request, len, frames);
        if placed.is_err() {
            self.unpromise(promise);
            self.let_go(request.backing);
        }
        Ok(VirtAddr::truncate(placed? << PAGE_SHIFT))
    }

    /// The request, with an object behind it if it is for shared memory.
    fn with_object<A: FrameAllocator<'p>>(
        &self,
        request: &MapRequest,
        len: u64,
        frames: &A,
    ) -> Result<MapRequest, Errno> {
        if let Backing::File(file) = request.backing {
            let end = request.pgoff.checked_add(len >> PAGE_SHIFT);
            if end.is_none_or(|end| end > MAX_PAGES) {
                return Err(Errno::Einval);
            }
            if !file.mode().contains(FileMode::READ) || !may_have(request.backing, request.vm) {
                return Err(Errno::Eacces);
            }
            if file.is_swapfile() && request.vm.contains(VmFlags::SHARED | VmFlags::WRITE) {
                return Err(Errno::Etxtbsy);
            }
            file.hold();
        }
        if request.backing != Backing::Anon || !request.vm.contains(VmFlags::SHARED) {
            return Ok(*request);
        }
        let is_promised = !request.flags.contains(MapFlags::NORESERVE)
            || self.settings.overcommit() == super::OvercommitMode::Never;
        let backing = self.make_shmem(len >> PAGE_SHIFT, is_promised, frames)?;
        Ok(MapRequest { backing, ..*request })
    }

    /// Finds the place of `len` bytes and makes the area; its first page.
    fn place<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        request: &MapRequest,
        len: u64,
        frames: &A,
    ) -> Result<u64, Errno> {
        let pages = len >> PAGE_SHIFT;
        let is_fixed = request.flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
        let mut areas = self.write_areas(mm, 3, frames)?;
        let first = if is_fixed {
            self.fixed(mm, request, len)?
        } else {
            self.unmapped_area(mm, &areas, request, pages).ok_or(Errno::Enomem)?
        };
        if areas.start_after(first).is_none_or(|start| start >= first + pages) {
            self.add_area(mm, &mut areas, first, pages, request)?;
        } else if request.flags.contains(MapFlags::FIXED_NOREPLACE) {
            return Err(Errno::Eexist);
        } else {
            self.replace(mm, &mut areas, first, pages, request, frames)?;
        }
        Ok(first)
    }

    /// The page of a fixed address, if something may be mapped there.
    fn fixed(&self, mm: &Mm<'p, M>, request: &MapRequest, len: u64) -> Result<u64, Errno> {
        let addr = request.addr.map_or(0, VirtAddr::get);
        if !addr.is_multiple_of(request.backing.pages() * PAGE_SIZE) {
            return Err(Errno::Einval);
        }
        if addr < self.settings.mmap_min_addr() {
            return Err(Errno::Eperm);
        }
        let end = addr.checked_add(len).filter(|end| *end <= TASK_SIZE).ok_or(Errno::Enomem)?;
        let own = SLICE_BYTES * (u64::from(mm.id) + 1);
        let overlay = super::layout::OVERLAY_START;
        let is_own = addr >= own && end <= own + SLICE_BYTES;
        if is_own || addr >= overlay || end <= SLICE_BYTES {
            Ok(addr >> PAGE_SHIFT)
        } else {
            Err(Errno::Eperm)
        }
    }

    /// Puts an area in the place of what is there, under the write lock, with three areas prepared (Linux
    /// `__mmap_prepare`). All that may be refused comes before anything is taken away.
    fn replace<A: FrameAllocator<'p>>(
        &self,
        mm: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        first: u64,
        pages: u64,
        request: &MapRequest,
        frames: &A,
    ) -> Result<(), Errno> {
        let end = first + pages;
        self.divide(mm, areas, pages_of(first, end)?, frames)?;
        let init = match self.admit(mm, areas, first, pages, request) {
            Ok(init) => init,
            Err(error) => {
                self.join(areas, first, end);
                return Err(error);
            }
        };
        self.unmap_areas(mm, areas, first, end, frames)?;
        self.put_area(mm, areas, &init)
    }

    /// Where `pages` pages are free: at the wish if that is, else as high as possible (Linux
    /// `unmapped_area_topdown`). What is made of huge pages as a whole starts with one.
    pub(super) fn unmapped_area(
        &self,
        mm: &Mm<'p, M>,
        areas: &Areas<'p>,
        request: &MapRequest,
        pages: u64,
    ) -> Option<u64> {
        let huge = Order::PAGEBLOCK.pages();
        let window = if request.flags.contains(MapFlags::OVERLAY) {
            Layout::overlay()
        } else {
            mm.layout.start..mm.layout.mmap_base
        };
        let wish = request.addr.map(|addr| addr.vpn().get());
        let wished = wish.filter(|first| {
            let end = first.saturating_add(pages);
            *first >= window.start
                && end <= window.end
                && areas.start_after(*first).is_none_or(|at| at >= end)
        });
        let unit = request.backing.pages();
        let align = if pages.is_multiple_of(huge) { huge.max(unit) } else { unit };
        wished
            .filter(|first| first % unit == 0)
            .or_else(|| areas.highest_gap(window.clone(), pages, align))
            .or_else(|| areas.highest_gap(window, pages, unit))
    }

    /// Puts an area where nothing is, under the write lock, with one area prepared.
    pub(super) fn add_area(
        &self,
        mm: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        first: u64,
        pages: u64,
        request: &MapRequest,
    ) -> Result<(), Errno> {
        let init = self.admit(mm, areas, first, pages, request)?;
        self.put_area(mm, areas, &init)
    }

    /// Whether there may be such an area instead of those that are there, whose borders are borders of its; what it will
    /// be. It has been promised its pages then, and those that are there have no promises any more.
    fn admit(
        &self,
        mm: &Mm<'p, M>,
        areas: &mut Areas<'p>,
        first: u64,
        pages: u64,
        request: &MapRequest,
    ) -> Result<VmaInit, Errno> {
        let (start, end) = (first, first + pages);
        let gone = areas.iter(start..end).count() as u64;
        if areas.len() - gone >= u64::from(self.settings.max_map_count()) {
            return Err(Errno::Enomem);
        }
        let mut flags = request.vm;
        if flags.contains(VmFlags::HUGETLB) {
            // Nothing of a pool is counted as locked.
            flags -= VmFlags::LOCKED;
        }
        let keeps = self.settings.overcommit() != super::OvercommitMode::Never;
        if request.flags.contains(MapFlags::NORESERVE) && (keeps || flags.contains(VmFlags::HUGETLB)) {
            flags |= VmFlags::NORESERVE;
        }
        let is_promised = self.is_accountable(flags, request.flags);
        flags.set(VmFlags::ACCOUNT, is_promised);
        self.charge_in_place(mm, areas, start..end, if is_promised { pages } else { 0 })?;
        Ok(VmaInit {
            mm: mm.id,
            start,
            end,
            pgoff: match request.backing {
                Backing::File(_) => request.pgoff,
                // Shared memory begins with page 0.
                _ if flags.contains(VmFlags::SHARED) => 0,
                _ => first,
            },
            flags,
            kind: request.kind,
            backing: request.backing,
        })
    }

    /// Puts an area in that was admitted, where nothing is any more.
    fn put_area(&self, mm: &Mm<'p, M>, areas: &mut Areas<'p>, init: &VmaInit) -> Result<(), Errno> {
        let pages = init.end - init.start;
        match areas.insert(init) {
            Some(vma) => vma.link_to_object(self.machine().cpu()),
            None => {
                if init.flags.contains(VmFlags::ACCOUNT) {
                    self.uncharge(mm, pages);
                }
                return Err(Errno::Enomem);
            }
        }
        for usage in usages(init.flags, init.kind) {
            mm.counters.add_usage(usage, pages);
        }
        self.join(areas, init.start, init.end);
        Ok(())
    }

    /// Joins the areas from page `start` to `end` with each other and with their neighbours, where they are alike.
    pub(super) fn join(&self, areas: &mut Areas<'p>, start: u64, end: u64) {
        let Some(objects) = self.objects() else { return };
        let mut at = end;
        loop {
            let gone = areas.join_at(objects, self.machine().cpu(), at);
            gone.into_iter().for_each(|backing| self.let_go(backing));
            // The next border below; what lies there may just have become one area.
            match areas.before(at).map(crate::vma::Vma::start) {
                Some(first) if first >= start => at = first,
                _ => return,
            }
        }
    }

    /// Whether pages of such an area are promised (Linux `accountable_mapping`).
    pub(super) fn is_accountable(&self, vm: VmFlags, how: MapFlags) -> bool {
        let reserves =
            !how.contains(MapFlags::NORESERVE) || self.settings.overcommit() == super::OvercommitMode::Never;
        vm.contains(VmFlags::WRITE) && !vm.intersects(VmFlags::SHARED | VmFlags::HUGETLB) && reserves
    }
}

/// Whether an area of this memory may have the rights `vm`: what is written to a file that is shared needs a file that is
/// open for writing.
pub(super) fn may_have(backing: Backing, vm: VmFlags) -> bool {
    let writes = vm.contains(VmFlags::SHARED | VmFlags::WRITE);
    !matches!(backing, Backing::File(file) if writes && !file.mode().contains(FileMode::WRITE))
}
