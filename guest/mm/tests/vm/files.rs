//! Files for tests of mappings: on a disk of their own, with known words in every page.

use super::{World, keep, page};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::cache::{FileMode, OpenFile};
use mm::port::PAGE_SECTORS;
use mm::space::{MapFlags, MapRequest, Mm};
use mm::vma::VmFlags;
use sim::{Disk, Extents, Machine};

pub const READ: VmFlags = VmFlags::READ;
pub const WRITE: VmFlags = VmFlags::READ.union(VmFlags::WRITE);
pub const SHARED: VmFlags = WRITE.union(VmFlags::SHARED);

/// A disk with files.
pub struct Volume {
    pub disk: &'static Disk<'static>,
    pub fs: &'static Extents<'static>,
}

/// What the first word of page `n` of file `ino` is.
pub fn word(ino: u64, n: u64) -> u64 {
    ino << 32 | (n + 1)
}

impl Volume {
    pub fn new(world: &World) -> Self {
        let disk = keep(Disk::new(world.machine(), 4096 * PAGE_SECTORS, 7));
        Self { disk, fs: keep(Extents::new(disk)) }
    }

    /// A file of `pages` pages, all on the disk.
    pub fn file(&self, world: &World, ino: u64, pages: u64, mode: FileMode) -> &'static OpenFile<'static> {
        self.fs.create(ino, pages * PAGE_SIZE);
        let first = ino * 512 * PAGE_SECTORS;
        self.fs.place(ino, 0, pages, first);
        for n in 0..pages {
            self.disk.poke((first + n * PAGE_SECTORS) * 512, &word(ino, n).to_le_bytes());
        }
        self.open(world, ino, mode)
    }

    /// A file of `pages` pages of which nothing is on the disk.
    pub fn hole(&self, world: &World, ino: u64, pages: u64) -> &'static OpenFile<'static> {
        self.fs.create(ino, pages * PAGE_SIZE);
        self.open(world, ino, FileMode::READ | FileMode::WRITE)
    }

    pub fn open(&self, world: &World, ino: u64, mode: FileMode) -> &'static OpenFile<'static> {
        let size = self.fs.size(ino).unwrap();
        world.vm.cache().open(self.fs, ino, size, mode, &world.frames).unwrap()
    }
}

/// Maps `pages` pages of a file.
pub fn map(
    world: &World,
    mm: &Mm<'static, Machine>,
    file: &'static OpenFile<'static>,
    pages: u64,
    vm: VmFlags,
) -> VirtAddr {
    let request = MapRequest::file(file, 0, pages * PAGE_SIZE, vm);
    world.vm.mmap(mm, &request, &world.frames).unwrap()
}

/// As [`map`], where a clone gets it, too.
pub fn map_overlay(
    world: &World,
    mm: &Mm<'static, Machine>,
    file: &'static OpenFile<'static>,
    pages: u64,
    vm: VmFlags,
) -> VirtAddr {
    let request = MapRequest { flags: MapFlags::OVERLAY, ..MapRequest::file(file, 0, pages * PAGE_SIZE, vm) };
    world.vm.mmap(mm, &request, &world.frames).unwrap()
}

/// The first words of pages `0..pages`.
pub fn words(world: &World, mm: &Mm<'static, Machine>, at: VirtAddr, pages: u64) -> Vec<u64> {
    (0..pages).map(|n| world.load(mm, page(at, n)).unwrap()).collect()
}
