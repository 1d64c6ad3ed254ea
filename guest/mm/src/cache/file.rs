//! Open files: who reads an inode, and how (Linux `struct file`).
//!
//! Owns: the slab cache `filp`, the mode, and the state of readahead. Stays outside: positions and names. Invariants: an open
//! file has a reference to its inode.

use super::readahead::RaState;
use super::{FileSystem, Inode, PageCache};
use crate::errno::Errno;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::Machine;
use bitflags::bitflags;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

bitflags! {
    /// What may be done with an open file, and what is expected to be done (`f_mode`, `f_flags`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FileMode: u32 {
        /// Reading.
        const READ = 1 << 0;
        /// Writing.
        const WRITE = 1 << 1;
        /// Around the cache (`O_DIRECT`).
        const DIRECT = 1 << 2;
        /// Every write is stable when it returns (`O_SYNC`).
        const SYNC = 1 << 3;
        /// Reads are expected anywhere (`FMODE_RANDOM`).
        const RANDOM = 1 << 4;
    }
}

/// See the module documentation.
pub struct OpenFile<'p> {
    inode: &'p Inode<'p>,
    mode: AtomicU32,
    /// What readahead has seen of it.
    pub(crate) ra: RaState,
}

impl<'p> OpenFile<'p> {
    /// What it is open on.
    #[inline(always)]
    pub fn inode(&self) -> &'p Inode<'p> {
        self.inode
    }

    /// How.
    #[inline]
    pub fn mode(&self) -> FileMode {
        FileMode::from_bits_retain(self.mode.load(Ordering::Relaxed))
    }

    pub(super) fn expect_random(&self, random: bool) {
        if random {
            self.mode.fetch_or(FileMode::RANDOM.bits(), Ordering::Relaxed);
        } else {
            self.mode.fetch_and(!FileMode::RANDOM.bits(), Ordering::Relaxed);
        }
    }
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// Opens inode `number` of `fs`, which has `size` bytes if it is not in memory yet.
    ///
    /// # Errors
    /// `Enomem`; `Erofs` for writing where nothing can be written.
    pub fn open(
        &self,
        fs: &'p dyn FileSystem,
        number: u64,
        size: u64,
        mode: FileMode,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<&'p OpenFile<'p>, Errno> {
        if mode.contains(FileMode::WRITE) && fs.device().is_read_only() {
            return Err(Errno::Erofs);
        }
        let ground = self.ground().ok_or(Errno::Enodev)?;
        let memory = self.slabs.alloc(ground.files, frames, GfpFlags::GFP_KERNEL)?.cast::<OpenFile<'p>>();
        let inode = self.iget(fs, number, size, frames).inspect_err(|_| {
            // SAFETY: the object was just taken from this cache.
            let _ = unsafe { self.slabs.free(ground.files, memory.cast()) };
        })?;
        let file = OpenFile { inode, mode: AtomicU32::new(mode.bits()), ra: RaState::new(self.ra_pages()) };
        // SAFETY: the object has the size and alignment of an open file and is the caller's alone; only `close` takes it away.
        Ok(unsafe {
            memory.write(file);
            memory.as_ref()
        })
    }

    /// Closes a file. Its inode stays in memory.
    ///
    /// # Safety
    /// Nobody uses the file any more, and no reference to it is kept.
    pub unsafe fn close(&self, file: &'p OpenFile<'p>) {
        let Some(ground) = self.ground() else { return };
        self.iput(file.inode);
        // SAFETY: the object came from this cache; nobody uses it any more, by the caller.
        let _ = unsafe { self.slabs.free(ground.files, NonNull::from(file).cast()) };
    }
}
