//! The page cache: pages of files and disks in memory (Linux `mm/filemap.c`, 6.18).
//!
//! Owns: inodes and the pages of each, by index. Stays outside: where a page is on its disk ([`FileSystem`]), the disk
//! ([`BlockDevice`](crate::port::BlockDevice)), which pages go (reclaim), mapping them (`space`, `fault`). Invariants: a
//! page stands in the index of its inode at most once, and has one reference for that; a page is written to memory by
//! the disk only while it is locked and not up to date; reads and mappings show the same page.
//!
//! | file | job |
//! |---|---|
//! | `mapping` | the pages of one inode |
//! | `inode` | inodes: size, references, where they are |
//! | `table` | all inodes |
//! | `file` | open files |
//! | `end_write` | a page that is being written, and the end of that |
//! | `fs` | what a file system does for the cache |
//! | `folio` | folios in an index: found, added, taken out |
//! | `owner` | from a folio to its inode |
//! | `readahead` | which pages are read before somebody asks |
//! | `fill` | bringing pages into memory |
//! | `read` | reading |
//! | `census` | what of a file is in memory |
//! | `advise` | what readers say that they will do |

mod advise;
mod census;
mod end_write;
mod file;
mod fill;
mod folio;
mod fs;
mod inode;
mod mapping;
mod owner;
mod read;
mod readahead;
mod table;

use crate::dirty::Dirty;
use crate::frame::FrameTable;
use crate::io::Io;
use crate::lru::Lru;
use crate::phys::{FrameAllocator, Phys};
use crate::port::Machine;
use crate::slab::{Cache, CacheRequest, CreateError, SlabFlags, Slabs};
use crate::sync::{InitError, Once};
use crate::xarray::NodeCache;
pub use advise::FileAdvice;
pub use census::CacheStat;
use core::sync::atomic::{AtomicU32, Ordering};
pub use file::{FileMode, FileRef, OpenFile};
pub use fs::{FileSystem, Run};
pub use inode::Inode;
pub use mapping::AddressSpace;
pub(crate) use owner::Settled;
pub use readahead::MmapHint;
use table::Table;

/// What is made at boot.
struct Ground<'p, M: Machine> {
    table: &'p FrameTable,
    /// Where inodes come from.
    inodes: &'p Cache,
    /// Where those of disks come from.
    disks: &'p Cache,
    /// Where open files come from.
    files: &'p Cache,
    /// Where the nodes of indexes come from: those of the cache, of shared memory, of swap.
    nodes: NodeCache<'p, 'p, M>,
}

impl<'p, M: Machine> Ground<'p, M> {
    /// Where inodes of `fs` come from.
    fn inodes_of(&self, fs: &dyn FileSystem) -> &'p Cache {
        if fs.is_disk() { self.disks } else { self.inodes }
    }
}

/// Why there is no cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootError {
    /// There is one already.
    AlreadyBooted,
    /// The page allocator is not booted.
    NotReady,
    /// No slab cache.
    Cache(CreateError),
}

/// See the module documentation. Lives in a static; everything goes through `&self`.
pub struct PageCache<'p, M: Machine> {
    phys: &'p Phys<M>,
    slabs: &'p Slabs<'p, M>,
    lru: &'p Lru<'p>,
    io: &'p Io<'p, M>,
    table: Table,
    /// The largest window of readahead of files that are opened from now on.
    ra_pages: AtomicU32,
    dirty: Dirty,
    ground: Once<Option<Ground<'p, M>>>,
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// Before boot: there are no inodes.
    #[must_use]
    pub const fn new(
        phys: &'p Phys<M>,
        slabs: &'p Slabs<'p, M>,
        lru: &'p Lru<'p>,
        io: &'p Io<'p, M>,
    ) -> Self {
        Self {
            phys,
            slabs,
            lru,
            io,
            table: Table::new(),
            ra_pages: AtomicU32::new(readahead::DEFAULT_PAGES),
            dirty: Dirty::new(),
            ground: Once::new(None),
        }
    }

    /// Prepares for inodes.
    ///
    /// # Errors
    /// [`BootError`].
    pub fn boot(&self, frames: &impl FrameAllocator<'p>) -> Result<(), BootError> {
        let table = self.phys.frame_table().ok_or(BootError::NotReady)?;
        let filled = self.ground.init(|slot| {
            let nodes = NodeCache::new(self.slabs, self.lru.stat(), frames).map_err(BootError::Cache)?;
            let cache = |name, size: usize, align: usize| {
                let (size, align) = (size as u32, align as u32);
                let flags = SlabFlags::RECLAIM_ACCOUNT | SlabFlags::NO_MERGE;
                let request = CacheRequest { name, size, align, flags, ctor: None };
                self.slabs.create(&request, frames).map_err(BootError::Cache)
            };
            let inodes = cache("inode_cache", size_of::<Inode<'p>>(), align_of::<Inode<'p>>())?;
            let disks = cache("bdev_cache", size_of::<Inode<'p>>(), align_of::<Inode<'p>>())?;
            let files = cache("filp", size_of::<OpenFile<'p>>(), align_of::<OpenFile<'p>>())?;
            *slot = Some(Ground { table, inodes, disks, files, nodes });
            Ok(())
        });
        filled.map_err(|error| match error {
            InitError::Taken => BootError::AlreadyBooted,
            InitError::Failed(error) => error,
        })
    }

    #[inline(always)]
    fn ground(&self) -> Option<&Ground<'p, M>> {
        self.ground.get()?.as_ref()
    }

    /// The machine.
    #[inline(always)]
    pub fn machine(&self) -> &'p M {
        self.phys.machine()
    }

    /// The lists that reclaim goes by.
    #[inline(always)]
    pub fn lru(&self) -> &'p Lru<'p> {
        self.lru
    }

    /// Requests to disks.
    #[inline(always)]
    pub fn io(&self) -> &'p Io<'p, M> {
        self.io
    }

    /// What is known of dirty memory.
    #[inline(always)]
    pub fn dirty(&self) -> &Dirty {
        &self.dirty
    }

    /// The largest window of readahead, in pages (`read_ahead_kb`).
    pub fn ra_pages(&self) -> u32 {
        self.ra_pages.load(Ordering::Relaxed)
    }

    /// Sets the largest window of readahead for files that are opened from now on.
    pub fn set_ra_pages(&self, pages: u32) {
        self.ra_pages.store(pages, Ordering::Relaxed);
    }

    /// The nodes of indexes, for all arrays of the machine; none before boot.
    #[inline(always)]
    pub fn nodes(&'p self) -> Option<&'p NodeCache<'p, 'p, M>> {
        self.ground().map(|ground| &ground.nodes)
    }
}
