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
//! | `fs` | what a file system does for the cache |

mod fs;
mod inode;
mod mapping;

use crate::frame::FrameTable;
use crate::lru::Lru;
use crate::phys::{FrameAllocator, Phys};
use crate::port::Machine;
use crate::slab::{CreateError, Slabs};
use crate::sync::{InitError, Once};
use crate::xarray::NodeCache;
pub use fs::{FileSystem, Run};
pub use inode::Inode;
pub use mapping::AddressSpace;

/// What is made at boot.
struct Ground<'p, M: Machine> {
    table: &'p FrameTable,
    /// Where the nodes of indexes come from: those of the cache, of shared memory, of swap.
    nodes: NodeCache<'p, 'p, M>,
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
    ground: Once<Option<Ground<'p, M>>>,
}

impl<'p, M: Machine> PageCache<'p, M> {
    /// Before boot: there are no inodes.
    #[must_use]
    pub const fn new(phys: &'p Phys<M>, slabs: &'p Slabs<'p, M>, lru: &'p Lru<'p>) -> Self {
        Self { phys, slabs, lru, ground: Once::new(None) }
    }

    /// Prepares for inodes.
    ///
    /// # Errors
    /// [`BootError`].
    pub fn boot(&self, frames: &impl FrameAllocator<'p>) -> Result<(), BootError> {
        let table = self.phys.frame_table().ok_or(BootError::NotReady)?;
        let filled = self.ground.init(|slot| {
            let nodes = NodeCache::new(self.slabs, frames).map_err(BootError::Cache)?;
            *slot = Some(Ground { table, nodes });
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

    /// The nodes of indexes, for all arrays of the machine; none before boot.
    #[inline(always)]
    pub fn nodes(&'p self) -> Option<&'p NodeCache<'p, 'p, M>> {
        self.ground().map(|ground| &ground.nodes)
    }
}
