//! Where the slots of an area are: what a path means, and who else uses that.
//!
//! Invariants: an area on a disk overlaps no other and no mounted volume; a file stays where it is while it is swapped to.

use super::Refused;
use crate::drivers::blk::{self, Disk};
use crate::files::{self, Buffer, Place};
use crate::memory::slab::FRAMES;
use crate::memory::vm::{CACHE, VM};
use mm::addr::PAGE_SIZE;
use mm::cache::{FileSystem, Inode};
use mm::errno::Errno;
use mm::port::PAGE_SECTORS;
use mm::swap::Extent;

/// Parts of a file that an area can have.
const MAX_EXTENTS: usize = 512;

/// Sectors of a disk that are swapped to.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub disk: &'static Disk,
    pub first: u64,
    pub sectors: u64,
}

impl Claim {
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_before = |a: &Self, b: &Self| a.first + a.sectors <= b.first;
        core::ptr::eq(self.disk, other.disk) && !is_before(self, other) && !is_before(other, self)
    }
}

/// What an area is on. A file is claimed until this is dropped.
pub(super) enum Ground {
    Device(Claim),
    File(SwapFile),
}

/// A file that is swapped to.
pub(super) struct SwapFile(&'static Inode<'static>);

impl Drop for SwapFile {
    fn drop(&mut self) {
        VM.release_swapfile(self.0);
        CACHE.iput(self.0);
    }
}

/// Where the pages of an area are.
pub(super) struct Layout {
    pub disk: &'static Disk,
    pub pages: u64,
    pub ground: Ground,
    extents: Buffer,
    parts: usize,
}

impl Layout {
    fn add(&mut self, sector: u64, pages: u64) -> Result<(), Refused> {
        let slot = self.list().last().map_or(0, |last| last.slot + last.pages);
        let at = self.parts * size_of::<Extent>();
        let place = self.extents.bytes().get_mut(at..at + size_of::<Extent>()).ok_or(Refused::Parts)?;
        // SAFETY: the place is inside the buffer, which is page-aligned, at a multiple of the size.
        unsafe { place.as_mut_ptr().cast::<Extent>().write(Extent { slot, pages, sector }) };
        self.parts += 1;
        Ok(())
    }

    /// The parts, in order.
    pub fn list(&mut self) -> &[Extent] {
        let first = self.extents.bytes().as_ptr().cast::<Extent>();
        // SAFETY: so many were written one after the other.
        unsafe { core::slice::from_raw_parts(first, self.parts) }
    }
}

/// What is at `path`: a disk, a partition or a file.
pub(super) fn of(path: &str) -> Result<Layout, Refused> {
    match path.strip_prefix("/dev/") {
        Some(device) => of_device(device),
        None => of_file(path),
    }
}

fn of_device(device: &str) -> Result<Layout, Refused> {
    let name = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let disk = blk::find(name).ok_or(Errno::Enoent)?;
    let (first, sectors) = match device.get(name.len()..).filter(|digits| !digits.is_empty()) {
        None => (0, disk.sectors()),
        Some(digits) => {
            let number = digits.parse().map_err(|_| Errno::Enoent)?;
            files::partition(disk, number).ok_or(Errno::Enoent)?
        }
    };
    let claim = Claim { disk, first, sectors };
    if files::is_mounted(disk, first, sectors) {
        return Err(Errno::Ebusy.into());
    }
    let extents = Buffer::new(size_of::<Extent>()).ok_or(Errno::Enomem)?;
    let pages = sectors / PAGE_SECTORS;
    let mut layout = Layout { disk, pages, ground: Ground::Device(claim), extents, parts: 0 };
    layout.add(first, pages)?;
    Ok(layout)
}

fn of_file(path: &str) -> Result<Layout, Refused> {
    let Place::Name(volume, name) = files::locate(path)? else { return Err(Errno::Enoent.into()) };
    let disk = volume.disk();
    if disk.is_read_only() {
        return Err(Errno::Erofs.into());
    }
    let (number, size) = volume.find(name).ok_or(Errno::Enoent)?;
    let inode = CACHE.iget(volume, number, size, &FRAMES)?;
    if let Err(error) = VM.claim_swapfile(inode, &FRAMES) {
        CACHE.iput(inode);
        return Err(error.into());
    }
    let (ground, pages) = (Ground::File(SwapFile(inode)), inode.size() / PAGE_SIZE);
    let extents = Buffer::new(MAX_EXTENTS * size_of::<Extent>()).ok_or(Errno::Enomem)?;
    let mut layout = Layout { disk, pages, ground, extents, parts: 0 };
    let mut at = 0;
    while at < pages {
        let run = volume.map(number, at, pages - at)?;
        layout.add(run.sector.ok_or(Refused::Holes)?, run.pages.min(pages - at))?;
        at += run.pages;
    }
    Ok(layout)
}
