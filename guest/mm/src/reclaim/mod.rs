//! Taking pages back (Linux `mm/vmscan.c`, 6.18).
//!
//! Owns: how many pages of which list are looked at, what becomes of each, kswapd, and the allocators that make room.
//! Stays outside: the lists (`lru`), taking a page out of its file or to swap (`cache`, `swap`), and the task that kswapd
//! runs in. Invariants: no lock is held while pages are decided about; what reclaim itself allocates comes from
//! [`Reserve`], which never reclaims.
//!
//! | file | job |
//! |---|---|
//! | `scan` | how much of which list |
//! | `shrink` | a node, its lists, active pages |
//! | `references` | whether a page was used |
//! | `inactive` | what becomes of inactive pages |
//! | `pace` | waiting for disks and for others |
//! | `kswapd` | keeping a node above its high mark |
//! | `direct` | making room for who cannot wait for kswapd |
//! | `last` | who goes when there is none to be made |
//! | `thrash` | whether memory is too small |
//! | `log` | what went, in order |
//! | `pageout` | what an owner does not need soon |
//! | `allocator` | [`Reclaiming`] and [`Reserve`] |

mod allocator;
mod direct;
mod inactive;
mod kswapd;
mod last;
mod log;
mod pace;
mod pageout;
mod references;
mod scan;
mod shrink;
mod thrash;

use crate::addr::{NodeId, Order};
use crate::frame::ZoneKind;
use crate::phys::{GfpFlags, Phys, ZoneAllocator};
use crate::port::Machine;
use crate::shrinker::Shrinkers;
use crate::space::Vm;
use crate::swap::Swap;
use crate::sync::Once;
pub use allocator::{Reclaiming, Reserve};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub use last::OomKiller;
pub use log::{EvictLog, Evicted};
use pace::{Pace, Seen};
pub use thrash::Traffic;

/// Where scanning starts: a 4096th of each list (Linux `DEF_PRIORITY`).
const DEF_PRIORITY: u32 = 12;
/// Pages that one who makes room for himself is content with (Linux `SWAP_CLUSTER_MAX`).
const CLUSTER: u64 = 32;
/// The largest `vm.swappiness`: anonymous pages cost nothing.
pub const MAX_SWAPPINESS: u32 = 200;

/// What reclaim knows of a node.
#[derive(Default)]
struct Node {
    /// Activations of its refaults when it was last reclaimed from (Linux `lruvec->refaults`).
    anon_refaults: AtomicU64,
    file_refaults: AtomicU64,
    pace: Pace,
}

/// See the module documentation. Lives in a static.
pub struct Reclaim<'p, M: Machine> {
    vm: &'p Vm<'p, M>,
    swap: &'p Swap<'p, M>,
    reserve: Reserve<'p, M>,
    shrinkers: &'p Shrinkers<'p>,
    log: Once<Option<&'p EvictLog>>,
    killer: Once<Option<&'p dyn OomKiller>>,
    /// How often in a row there was room where an allocation had failed.
    in_vain: AtomicU32,
    swappiness: AtomicU32,
    nodes: [Node; NodeId::MAX_NODES],
}

/// What is wanted, and what has come of it (Linux `struct scan_control`).
struct Scan {
    node: NodeId,
    gfp: GfpFlags,
    order: Order,
    /// Zones up to this one count.
    highest: ZoneKind,
    by_kswapd: bool,
    priority: u32,
    wanted: u64,
    reclaimed: u64,
    scanned: u64,
    may_swap: bool,
    /// Pages go whether they were used or not.
    ignore_references: bool,
    /// Whether active pages of each kind may become inactive.
    deactivate_anon: bool,
    deactivate_file: bool,
    /// Both, whatever refaults say.
    force_deactivate: bool,
    /// Active pages were spared.
    spared: bool,
    /// Pages of files are plenty: they alone go.
    trim_cache: bool,
    /// Pages of files are so few that taking them brings nothing.
    file_is_tiny: bool,
    anon_cost: u64,
    file_cost: u64,
    seen: Seen,
}

impl Scan {
    fn new(gfp: GfpFlags, order: Order, highest: ZoneKind, wanted: u64, by_kswapd: bool) -> Self {
        Self {
            node: NodeId::ZERO,
            gfp,
            order,
            highest,
            by_kswapd,
            priority: DEF_PRIORITY,
            wanted,
            reclaimed: 0,
            scanned: 0,
            may_swap: true,
            ignore_references: false,
            deactivate_anon: false,
            deactivate_file: false,
            force_deactivate: false,
            spared: false,
            trim_cache: false,
            file_is_tiny: false,
            anon_cost: 0,
            file_cost: 0,
            seen: Seen::default(),
        }
    }
}

impl<'p, M: Machine> Reclaim<'p, M> {
    /// Takes from what `vm` has, and asks `shrinkers`.
    #[must_use]
    pub const fn new(
        phys: &'p Phys<M>,
        vm: &'p Vm<'p, M>,
        swap: &'p Swap<'p, M>,
        shrinkers: &'p Shrinkers<'p>,
    ) -> Self {
        Self {
            vm,
            swap,
            reserve: Reserve::new(ZoneAllocator::new(phys)),
            shrinkers,
            log: Once::new(None),
            killer: Once::new(None),
            in_vain: AtomicU32::new(0),
            swappiness: AtomicU32::new(60),
            nodes: [const {
                Node { anon_refaults: AtomicU64::new(0), file_refaults: AtomicU64::new(0), pace: Pace::new() }
            }; NodeId::MAX_NODES],
        }
    }

    fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node.index())
    }

    /// What goes is told to `log`, as long as that is on. Once.
    pub fn log_to(&self, log: &'p EvictLog) {
        // Whoever came first keeps it.
        let _ = self.log.init(|slot| {
            *slot = Some(log);
            Ok::<(), ()>(())
        });
    }

    /// Page `index` of a file, or of anonymous memory, has gone.
    fn note(&self, inode: Option<u64>, index: u64) {
        if let Some(Some(log)) = self.log.get() {
            log.note(inode, index);
        }
    }

    /// How readily anonymous pages go to swap (`vm.swappiness`).
    pub fn swappiness(&self) -> u32 {
        self.swappiness.load(Ordering::Relaxed)
    }

    /// Sets it; false for more than [`MAX_SWAPPINESS`].
    #[must_use = "a number that is too large changes nothing"]
    pub fn set_swappiness(&self, to: u32) -> bool {
        let fits = to <= MAX_SWAPPINESS;
        if fits {
            self.swappiness.store(to, Ordering::Relaxed);
        }
        fits
    }
}
