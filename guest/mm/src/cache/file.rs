//! Open files: who reads an inode, and how (Linux `struct file`).
//!
//! Owns: the slab cache `filp`, the mode, and the state of readahead. Stays outside: positions and names. Invariants: an open
//! file has a reference to its inode.

use super::readahead::RaState;
use super::{FileSystem, Inode, PageCache};
use crate::errno::Errno;
use crate::errseq::ErrSample;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::Machine;
use crate::rmap::AreaTree;
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
    /// Who has it: whoever opened it, and areas that show it.
    refs: AtomicU32,
    /// Which failed writes whoever opened it knows of.
    pub(crate) wb_seen: ErrSample,
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

/// An open file behind an area, which has a reference to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRef(NonNull<OpenFile<'static>>);

// SAFETY: an open file may be used from any CPU, and whoever has one of these has a reference.
unsafe impl Send for FileRef {}
// SAFETY: as above.
unsafe impl Sync for FileRef {}

impl FileRef {
    /// What names `file` for an area. Only [`PageCache::file_of`] of its own cache makes a file of it again.
    #[must_use]
    pub fn of(file: &OpenFile<'_>) -> Self {
        Self(NonNull::from(file).cast())
    }

    fn file(&self) -> &OpenFile<'_> {
        // SAFETY: whoever has one of these has a reference to the file, so it lives; the borrow shortens what it refers to.
        unsafe { self.0.as_ref() }
    }

    /// One more has it (Linux `get_file`).
    pub(crate) fn hold(self) {
        self.file().refs.fetch_add(1, Ordering::Relaxed);
    }

    /// The areas that show pages of its inode.
    pub(crate) fn areas(self) -> NonNull<AreaTree> {
        NonNull::from(&self.file().inode.mapping().areas)
    }

    /// Whether it is swapped to.
    pub(crate) fn is_swapfile(self) -> bool {
        self.file().inode.is_swapfile()
    }

    /// How it is open.
    pub(crate) fn mode(self) -> FileMode {
        self.file().mode()
    }
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// The file with this name, which the caller has a reference to.
    #[inline]
    pub(crate) fn file_of(&self, file: FileRef) -> &'p OpenFile<'p> {
        // SAFETY: the file lives while there are references, and came from this cache, whose files these are.
        unsafe { file.0.cast().as_ref() }
    }

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
        let file = OpenFile {
            inode,
            mode: AtomicU32::new(mode.bits()),
            refs: AtomicU32::new(1),
            wb_seen: inode.mapping().wb_err.sample(),
            ra: RaState::new(self.ra_pages()),
        };
        // SAFETY: the object has the size and alignment of an open file and is the caller's alone; only `close` takes it away.
        Ok(unsafe {
            memory.write(file);
            memory.as_ref()
        })
    }

    /// Closes a file; it goes when no area shows it any more (Linux `fput`). Its inode stays in memory.
    ///
    /// # Safety
    /// Whoever opened it does not use it any more, and keeps no reference to it.
    pub unsafe fn close(&self, file: &'p OpenFile<'p>) {
        // Release: what was done with the file is done before it is freed. Acquire: by whoever frees it.
        if file.refs.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let Some(ground) = self.ground() else { return };
        self.iput(file.inode);
        // SAFETY: the object came from this cache; nobody uses it any more, by the caller.
        let _ = unsafe { self.slabs.free(ground.files, NonNull::from(file).cast()) };
    }
}
