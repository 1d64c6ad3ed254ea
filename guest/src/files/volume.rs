//! A data volume as a file system: what the cache asks, answered from the files in memory.
//!
//! Owns: the lock around those, and the order of writes. Stays outside: which blocks and what a table says
//! (`shared::disk::files`), the pages (`mm::cache`). Invariants: the state's lock is a spin lock and never held across I/O;
//! the table's may sleep, and whoever writes tables or zeroes has it, and takes it first. When a table could not be written
//! nobody knows what the disk has of it, so nothing is changed any more (Linux `errors=remount-ro`).

use super::table::{self, Buffer};
use crate::drivers::blk::Disk;
use crate::machine::CPU;
use crate::task::{Mutex, MutexGuard};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use mm::cache::{FileSystem, Run};
use mm::errno::Errno;
use mm::port::{BlockDevice, PAGE_SECTORS};
use mm::sync::SpinLock;
use shared::disk::BLOCK;
use shared::disk::files::{FileEntry, Plan, Volume, VolumeError, seal};

/// Blocks of zeroes that are written at once.
const ZERO_BLOCKS: usize = 16;

/// Aligned, because a device reads it.
#[repr(align(4096))]
struct Zeroes([u8; ZERO_BLOCKS * BLOCK as usize]);

static ZEROES: Zeroes = Zeroes([0; ZERO_BLOCKS * BLOCK as usize]);

/// See the module documentation.
pub struct DataVolume {
    disk: &'static Disk,
    /// The number of its partition; 0 for the whole disk.
    part: u32,
    /// The sector of its block 0.
    first: u64,
    state: SpinLock<&'static mut Volume>,
    table: Mutex<Buffer>,
    /// A table could not be written.
    broken: AtomicBool,
}

/// What a caller is told.
fn errno(error: VolumeError) -> Errno {
    match error {
        VolumeError::Missing => Errno::Enoent,
        VolumeError::Exists => Errno::Eexist,
        VolumeError::Name => Errno::Einval,
        VolumeError::TooBig => Errno::Efbig,
        VolumeError::Full => Errno::Enospc,
    }
}

/// A file as it is now.
#[derive(Clone, Copy)]
pub struct FileFacts {
    /// Its number.
    pub number: u64,
    /// What the table says of it.
    pub entry: FileEntry,
}

impl DataVolume {
    /// The volume in partition `part` of `disk`, whose block 0 is at sector `first`, with its files.
    pub fn new(
        disk: &'static Disk,
        part: u32,
        first: u64,
        state: &'static mut Volume,
        table: Buffer,
    ) -> Self {
        let (state, table) = (SpinLock::new(state), Mutex::new(table));
        Self { disk, part, first, state, table, broken: AtomicBool::new(false) }
    }

    /// The disk under it.
    pub fn disk(&self) -> &'static Disk {
        self.disk
    }

    /// The number of its partition on that; 0 for the whole disk.
    pub fn part(&self) -> u32 {
        self.part
    }

    /// Where it is on the disk.
    pub fn sectors(&self) -> Range<u64> {
        self.first..self.first + u64::from(self.state.lock(&CPU).blocks()) * PAGE_SECTORS
    }

    /// Blocks that no file has, and all that it has.
    pub fn room(&self) -> (u64, u64) {
        let state = self.state.lock(&CPU);
        (state.free_blocks(), state.blocks().into())
    }

    /// The number and size of the file with this name.
    pub fn find(&self, name: &str) -> Option<(u64, u64)> {
        let state = self.state.lock(&CPU);
        let number = state.find(name)?;
        Some((number as u64, state.file(number)?.size()))
    }

    /// The file with this number, or the first after it.
    pub fn file_from(&self, number: u64) -> Option<FileFacts> {
        let state = self.state.lock(&CPU);
        let (number, entry) = state.files().find(|&(other, _)| other as u64 >= number)?;
        Some(FileFacts { number: number as u64, entry: *entry })
    }

    /// Whether files can be changed.
    fn check_writable(&self) -> Result<(), Errno> {
        match self.disk.is_read_only() || self.broken.load(Ordering::Relaxed) {
            true => Err(Errno::Erofs),
            false => Ok(()),
        }
    }

    /// Makes a file of no bytes; its number.
    ///
    /// # Errors
    /// `Eexist`, `Einval`, `Enospc`, `Erofs`.
    pub fn create(&self, name: &str) -> Result<u64, Errno> {
        self.check_writable()?;
        self.state.lock(&CPU).create(name).map(|number| number as u64).map_err(errno)
    }

    /// Takes a file away, which nobody has open.
    ///
    /// # Errors
    /// `Enoent`, `Erofs`.
    pub fn remove(&self, number: u64) -> Result<(), Errno> {
        self.check_writable()?;
        self.state.lock(&CPU).remove(number as usize).map_err(errno)
    }

    fn sector_of(&self, block: u32) -> u64 {
        self.first + u64::from(block) * PAGE_SECTORS
    }

    /// The right to write, when nobody else does.
    fn lock_table(&self) -> Result<MutexGuard<'_, Buffer>, Errno> {
        let table = self.table.lock();
        // Who had it may have failed.
        self.check_writable().map(|()| table)
    }

    /// Writes zeroes to what a plan wants to have zeroes.
    fn zero(&self, plan: &Plan) -> Result<(), Errno> {
        for &(start, blocks) in plan.zeroes() {
            for at in (start..start + blocks).step_by(ZERO_BLOCKS) {
                let count = (start + blocks - at).min(ZERO_BLOCKS as u32) as usize;
                let bytes = ZEROES.0.get(..count * BLOCK as usize).unwrap_or_default();
                self.disk.write_sectors(self.sector_of(at), bytes).map_err(|_| Errno::Eio)?;
            }
        }
        Ok(())
    }

    /// Makes all stable that is known now.
    fn write_table(&self, buffer: &mut Buffer) -> Result<(), Errno> {
        let prepared = {
            let mut state = self.state.lock(&CPU);
            match state.is_stable() {
                true => None,
                false => Some(state.prepare(buffer.bytes()).map_err(|_| Errno::Ecorrupt)?),
            }
        };
        let Some((slot, length)) = prepared else {
            return self.disk.flush().map_err(|_| Errno::Eio);
        };
        let bytes = buffer.bytes().get_mut(..length).ok_or(Errno::Ecorrupt)?;
        // Without the lock of the state: interrupts come meanwhile.
        seal(bytes).map_err(|_| Errno::Ecorrupt)?;
        let written = table::write(self.disk, self.first, slot, bytes);
        match written {
            Ok(()) => self.state.lock(&CPU).commit(),
            Err(_) => self.broken.store(true, Ordering::Relaxed),
        }
        written
    }

    /// As [`FileSystem::allocate`], with zeroes, and after a table if room is short (Linux `ext4_should_retry_alloc`).
    fn allocate_slowly(&self, ino: u64, index: u64, pages: u64) -> Result<(), Errno> {
        // No table that has the blocks may be written before the zeroes are.
        let mut table = self.lock_table()?;
        let mut is_tried = false;
        loop {
            let (planned, waits) = {
                let mut state = self.state.lock(&CPU);
                (state.plan(ino as usize, index, pages), state.waits_for_table() && !is_tried)
            };
            let plan = match planned {
                Err(VolumeError::Full) if waits => {
                    is_tried = true;
                    self.write_table(&mut table)?;
                    continue;
                }
                planned => planned.map_err(errno)?,
            };
            let zeroed = self.zero(&plan);
            let mut state = self.state.lock(&CPU);
            if let Err(error) = zeroed {
                state.give_up_plan();
                return Err(error);
            }
            // A file that has changed meanwhile needs another plan.
            if state.install(&plan) {
                return Ok(());
            }
        }
    }
}

impl FileSystem for DataVolume {
    fn device(&self) -> &dyn BlockDevice {
        self.disk
    }

    fn map(&self, ino: u64, index: u64, pages: u64) -> Result<Run, Errno> {
        let state = self.state.lock(&CPU);
        let piece = state.map(ino as usize, index, pages).ok_or(Errno::Ecorrupt)?;
        Ok(Run { sector: piece.start.map(|block| self.sector_of(block)), pages: piece.blocks })
    }

    fn place(&self, ino: u64, index: u64) -> Result<Option<u64>, Errno> {
        let block = self.state.lock(&CPU).place_of(ino as usize, index);
        Ok(block.map(|block| self.sector_of(block)))
    }

    fn valid(&self, ino: u64) -> u64 {
        self.state.lock(&CPU).file(ino as usize).map_or(0, FileEntry::valid)
    }

    fn release(&self, ino: u64, index: u64, pages: u64) -> Result<(), Errno> {
        self.state.lock(&CPU).release(ino as usize, index, pages).map_err(errno)
    }

    fn allocate(&self, ino: u64, index: u64, pages: u64) -> Result<(), Errno> {
        self.check_writable()?;
        match self.state.lock(&CPU).allocate(ino as usize, index, pages) {
            Ok(true) => return Ok(()),
            Ok(false) | Err(VolumeError::Full) => {}
            Err(error) => return Err(errno(error)),
        }
        self.allocate_slowly(ino, index, pages)
    }

    fn set_size(&self, ino: u64, size: u64) -> Result<(), Errno> {
        self.check_writable()?;
        self.state.lock(&CPU).set_size(ino as usize, size).map_err(errno)
    }

    fn written(&self, ino: u64, end: u64) {
        self.state.lock(&CPU).written(ino as usize, end);
    }

    fn sync_inode(&self, _: u64, _: bool) -> Result<(), Errno> {
        if self.disk.is_read_only() {
            return Ok(());
        }
        self.write_table(&mut *self.lock_table()?)
    }
}
