//! The lists that reclaim goes by: which folios were used lately (Linux `struct lruvec`, `mm/swap.c`).
//!
//! Owns: five lists for each node, threaded through the descriptors of the folios, the batches of new folios, and the
//! end of a folio. Stays outside: taking pages away (reclaim). Invariants: a folio with [`FolioFlags::LRU`] is on the
//! list that its flags say and counted there; one with [`FolioFlags::PENDING`] is on its way; a folio leaves its list before it
//! is freed; lists change under the lock of their node.
//!
//! | file | job |
//! |---|---|
//! | `list` | which list a folio belongs on |
//! | `batch` | new folios, collected by each CPU |
//! | `session` | linking, unlinking and counting |
//! | `change` | used, not used, not needed, locked, freed |
//! | `take` | many folios at once, for reclaim |
//! | `workingset` | pages that come back soon |
//! | `writes` | waiting until pages are written |
//! | `verify` | whether it all holds |
//!
//! [`FolioFlags::LRU`]: crate::folio::FolioFlags::LRU
//! [`FolioFlags::PENDING`]: crate::folio::FolioFlags::PENDING

mod batch;
mod change;
mod list;
mod session;
mod take;
mod verify;
mod workingset;
mod writes;

use crate::addr::NodeId;
use crate::frame::{ZoneId, ZoneKind};
use crate::phys::MAX_CPUS;
use crate::sync::SpinLock;
use crate::vmstat::VmStat;
use batch::Batch;
use core::sync::atomic::{AtomicU64, Ordering};
use list::Lists;
pub use list::LruList;
pub(crate) use take::{TAKEN, Taken};
pub(crate) use workingset::is_file;
use writes::Writes;

/// What is kept of a node.
struct Node {
    lists: SpinLock<Lists>,
    /// Pages of each zone on each list; they change under the lock.
    zones: [[AtomicU64; LruList::COUNT]; ZoneKind::COUNT],
    /// How many pages were taken away or became active, ever (Linux `nonresident_age`).
    age: AtomicU64,
    writes: Writes,
}

impl Node {
    const fn new() -> Self {
        Self {
            lists: SpinLock::new(Lists::new()),
            zones: [const { [const { AtomicU64::new(0) }; LruList::COUNT] }; ZoneKind::COUNT],
            age: AtomicU64::new(0),
            writes: Writes::new(),
        }
    }
}

/// See the module documentation.
pub struct Lru<'p> {
    stat: &'p VmStat,
    nodes: [Node; NodeId::MAX_NODES],
    batches: [Batch; MAX_CPUS],
    swap_pages: AtomicU64,
}

impl<'p> Lru<'p> {
    /// Nothing is on any list; counts go to `stat`.
    #[must_use]
    pub const fn new(stat: &'p VmStat) -> Self {
        Self {
            stat,
            nodes: [const { Node::new() }; NodeId::MAX_NODES],
            batches: [const { Batch::new() }; MAX_CPUS],
            swap_pages: AtomicU64::new(0),
        }
    }

    /// What is counted.
    #[inline(always)]
    pub const fn stat(&self) -> &'p VmStat {
        self.stat
    }

    #[inline]
    fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node.index())
    }

    #[inline]
    fn zone_counter(&self, zone: ZoneId, list: LruList) -> Option<&AtomicU64> {
        self.node(zone.node)?.zones.get(zone.kind.index())?.get(list as usize)
    }

    /// Pages of a zone that are on a list (`nr_zone_inactive_anon` and those like it).
    pub fn in_zone(&self, zone: ZoneId, list: LruList) -> u64 {
        self.zone_counter(zone, list).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}
