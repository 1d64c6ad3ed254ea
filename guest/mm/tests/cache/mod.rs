//! The page cache on a simulated machine with a simulated disk.

mod basic;
mod errors;
mod model;
mod race;
mod readahead_model;
mod reclaim;
mod window;

use crate::vm::{World, keep};
use mm::addr::PAGE_SIZE;
use mm::cache::{FileMode, FileSystem, Inode, OpenFile, PageCache};
use mm::errno::Errno;
use mm::port::{IoOp, PAGE_SECTORS};
use mm::vmstat::{NodeStat, VmEvent};
use sim::{Disk, Extents, Machine};
use std::ptr::NonNull;

/// Pages of the disk, unless a file needs more.
const DISK: u64 = 256;
/// The number of the one file.
pub const INO: u64 = 7;

/// A machine with one disk and file systems on it.
pub struct Files {
    pub world: World,
    pub disk: &'static Disk<'static>,
    pub fs: &'static Extents<'static>,
}

/// What byte `at` of the disk holds before anybody writes.
pub fn pattern(at: u64) -> u8 {
    ((at / PAGE_SIZE).wrapping_mul(131) ^ at.wrapping_mul(7) ^ (at >> 9)) as u8
}

impl Files {
    /// `cpus` CPUs; the order in which the disk ends requests comes from `seed`.
    pub fn new(cpus: u32, seed: u64) -> Self {
        Self::on_disk(cpus, seed, DISK)
    }

    fn on_disk(cpus: u32, seed: u64, pages: u64) -> Self {
        let world = World::with(32, cpus, false);
        let disk: &'static Disk<'static> = keep(Disk::new(world.machine(), pages * PAGE_SECTORS, seed));
        let bytes: Vec<u8> = (0..pages * PAGE_SIZE).map(pattern).collect();
        disk.poke(0, &bytes);
        let fs: &'static Extents<'static> = keep(Extents::new(disk));
        Self { world, disk, fs }
    }

    /// The same with a file of `pages` pages at the beginning of the disk.
    pub fn with_file(cpus: u32, seed: u64, pages: u64) -> Self {
        let files = Self::on_disk(cpus, seed, pages.max(DISK));
        files.fs.create(INO, pages * PAGE_SIZE);
        files.fs.place(INO, 0, pages, 0);
        files
    }

    pub fn cache(&self) -> &'static PageCache<'static, Machine> {
        self.world.vm.cache()
    }

    pub fn open_on(&self, fs: &'static dyn FileSystem, ino: u64, size: u64) -> &'static OpenFile<'static> {
        self.cache().open(fs, ino, size, FileMode::READ, &self.world.frames).unwrap()
    }

    pub fn open(&self) -> &'static OpenFile<'static> {
        self.open_on(self.fs, INO, self.fs.size(INO).unwrap())
    }

    /// The bytes that a read shows.
    pub fn read(&self, file: &OpenFile<'static>, pos: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let mut bytes = Vec::new();
        let take = |at: NonNull<u8>, len| {
            // SAFETY: the cache shows that many bytes, and nothing writes them in these tests.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(at.as_ptr(), len) });
        };
        let shown = self.cache().read(file, pos, len, &self.world.frames, take)?;
        assert_eq!(shown, bytes.len() as u64);
        Ok(bytes)
    }

    /// Pages of each request since this was asked last.
    pub fn requests(&self) -> Vec<u64> {
        self.disk.take_log().iter().map(|logged| logged.pages as u64).collect()
    }

    /// Where each request since this was asked last started, in pages, and how many it had.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        let log = self.disk.take_log();
        log.iter()
            .inspect(|logged| assert_eq!(logged.op, IoOp::Read))
            .map(|logged| (logged.sector / PAGE_SECTORS, logged.pages as u64))
            .collect()
    }

    /// All requests end.
    pub fn settle(&self) {
        while self.disk.pending() != 0 {
            self.cache().io().poll(self.disk);
        }
    }

    pub fn sectors_in(&self) -> u64 {
        self.world.event(VmEvent::PgPgIn)
    }

    /// What is counted agrees with what is there.
    pub fn verify(&self, inodes: &[&Inode<'static>]) {
        let pages: u64 = inodes.iter().map(|inode| inode.mapping().nrpages()).sum();
        assert_eq!(self.world.vm.stat().total(NodeStat::FilePages), pages);
    }

    /// Every page of an inode goes.
    pub fn drop_pages(&self, inode: &Inode<'static>) {
        self.settle();
        for index in 0..inode.size().div_ceil(PAGE_SIZE) {
            if self.cache().is_cached(inode, index) {
                assert!(self.cache().evict_page(inode, index), "page {index} stays");
            }
        }
        assert_eq!(inode.mapping().nrpages(), 0);
    }
}

/// The bytes of the disk from `at`, as they were in the beginning.
pub fn expected(at: u64, len: u64) -> Vec<u8> {
    (at..at + len).map(pattern).collect()
}
