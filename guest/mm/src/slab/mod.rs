//! SLUB: small objects in slabs (Linux `mm/slub.c`, `mm/slab_common.c`, 6.18).
//!
//! Owns: named caches, their slabs, free lists and statistics, the size classes of `kmalloc`. Stays outside: frames
//! ([`phys`](crate::phys); new slabs come from the [`FrameAllocator`](crate::phys::FrameAllocator) that the caller
//! passes), reclaim, and what the objects are. Invariants: an object is in use, or at exactly one of: the hand of a
//! CPU, the local list of its slab, the chain in its slab's shared word. The frame of every slab
//! says so, and names its cache.
//!
//! A CPU allocates from its active slab and frees to slabs it owns with plain accesses, interrupts masked by the
//! soft flag; nothing there is locked. Other CPUs free through one atomic word per slab
//! ([`RemoteWord`](crate::sync) has the protocol). Caches under `slab_debug=` have no active slabs: every call goes
//! the long way, under the lock of the node.
//!
//! | file | job |
//! |---|---|
//! | `flags`, `config`, `error` | what can be asked for, and what can go wrong |
//! | `geometry` | parts of an object, order of a slab |
//! | `cache` | a cache in memory: its constants, a part for each CPU and each node |
//! | `frame` | what a descriptor says while its block is a slab |
//! | `list` | free lists: links, order, counting |
//! | `alloc`, `free`, `supply` | objects out, objects in, slabs from and to the page allocator |
//! | `registry` | making, finding, merging and destroying caches |
//! | `kmalloc` | size classes, and large blocks |
//! | `shrink`, `stats`, `verify` | giving back, counting, checking |
//! | `debug`, `track`, `report` | `slab_debug=` |

mod alloc;
mod cache;
mod config;
mod debug;
mod error;
mod flags;
mod frame;
mod free;
mod geometry;
mod kmalloc;
mod list;
mod registry;
mod report;
mod shrink;
mod stats;
mod supply;
mod track;
mod verify;

use crate::addr::NodeId;
use crate::frame::FrameTable;
use crate::phys::Phys;
use crate::port::{Machine, PhysMem};
use crate::sync::{Once, SpinLock};
pub use cache::{Cache, Name};
pub use config::{Hooks, SlabConfig};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
pub use error::{CreateError, ObjectError};
pub use flags::SlabFlags;
pub use geometry::{Geometry, OrderRules};
use kmalloc::SizeClasses;
pub use kmalloc::{KMALLOC_MAX, KmallocType, ZERO_SIZE_PTR};
pub use registry::CacheRequest;
use registry::{Numbers, Registry};
pub use report::{Problem, Report};
pub use stats::{CacheStats, SlabTotals};
pub use track::Track;
pub use verify::SlabViolation;

/// The slab allocator of a machine. Lives in a static beside its [`Phys`]; everything goes through `&self`.
pub struct Slabs<'p, M> {
    phys: &'p Phys<M>,
    ground: Once<Ground>,
    numbers: Numbers,
    registry: SpinLock<Registry>,
    classes: SizeClasses,
    /// Pages of objects that are too large for a cache, by node.
    large: [AtomicU64; NodeId::MAX_NODES],
}

/// What is fixed at boot.
struct Ground {
    table: FrameTable,
    config: SlabConfig,
    /// One more than the largest node number.
    nodes: u32,
}

impl Ground {
    const EMPTY: Self = Self { table: FrameTable::EMPTY, config: SlabConfig::LINUX, nodes: 0 };
}

impl<'p, M: Machine> Slabs<'p, M> {
    /// Before boot: there are no caches.
    #[must_use]
    pub const fn new(phys: &'p Phys<M>) -> Self {
        Self {
            phys,
            ground: Once::new(Ground::EMPTY),
            numbers: Numbers::empty(),
            registry: SpinLock::new(Registry::EMPTY),
            classes: SizeClasses::empty(),
            large: [const { AtomicU64::new(0) }; NodeId::MAX_NODES],
        }
    }

    /// The machine that the objects live on.
    #[inline(always)]
    pub fn machine(&self) -> &'p M {
        self.phys.machine()
    }

    /// What its frames come from.
    pub(crate) const fn phys(&self) -> &'p Phys<M> {
        self.phys
    }

    /// Where the memory of an object is.
    pub(crate) fn node_of(&self, object: NonNull<u8>) -> Option<NodeId> {
        let addr = self.machine().physmem().addr_of(object)?;
        let (_, frame) = self.ground()?.table.lookup(addr.pfn())?;
        Some(frame.zone().node)
    }

    #[inline(always)]
    fn ground(&self) -> Option<&Ground> {
        self.ground.get()
    }
}
