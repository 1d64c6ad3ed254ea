//! Physical memory: nodes, zones and the buddy allocator.
//!
//! Owns: which frame is free and who gets it. Stays outside: reclaim, mapping, and the memory of its own tables,
//! which the caller supplies.
//! Invariants: every frame is reserved, in one free block (of a zone or of a CPU), or in one allocated block; blocks
//! are aligned to their size; statistics are exact at any time, also for memory that has not been touched since boot.
//!
//! Layers, calls only go down: [`Phys`] and [`ZoneAllocator`] → slowpath → per-CPU lists → [`Zone`] (lock, marks) →
//! fallback, deferred → buddy → free area → frame lists. Source: Linux `mm/page_alloc.c`, 6.18.

mod alloc;
mod allocator;
mod arena;
mod boot;
mod borders;
mod buddy;
mod bulk;
mod contig;
mod debug;
mod deferred;
mod error;
mod events;
mod extfrag;
mod fallback;
mod fragstat;
mod free_area;
mod gfp;
mod ground;
mod handle;
mod highatomic;
mod inspect;
mod kswapd;
mod layout;
mod node;
mod pages;
mod pcp;
mod reserve;
mod slowpath;
mod stat;
mod step;
mod topology;
mod verify;
mod watermark;
mod zone;
mod zonelist;

use crate::addr::NodeId;
use crate::frame::{FrameTable, ZoneId};
use crate::memblock::Memblock;
use crate::port::Machine;
use crate::sync::{InitError, Once};
pub use allocator::{FrameAllocator, ZoneAllocator};
pub use arena::{Arena, ArenaBusy};
pub use boot::BootConfig;
pub use borders::{MovableShare, ZoneLimits};
use debug::Debug;
pub use debug::{
    Damage, FailPageAlloc, FailSlab, Injected, InvalidContext, PageChecks, PageHooks, PageOwner, PageReport,
    PageUse, Who,
};
pub use error::{AllocError, BootError, FreeError};
pub use events::Event;
pub use fragstat::Fragmentation;
use fragstat::Fragstat;
pub use gfp::GfpFlags;
use handle::Leaks;
pub use handle::{ExactFrames, Frames};
pub use inspect::{Folio, FolioState};
use kswapd::Asked;
pub(crate) use kswapd::MAX_FAILURES;
use layout::Layout;
pub use node::Node;
use pcp::Pagesets;
pub use stat::PagesetInfo;
pub use step::Step;
pub use topology::{LOCAL_DISTANCE, MAX_CPUS, REMOTE_DISTANCE, Topology};
pub use verify::{Rule, Violation};
pub use watermark::{ReserveConfig, Watermarks};
pub use zone::Zone;

/// The physical memory of a machine. Lives in a static; everything goes through `&self`.
pub struct Phys<M> {
    machine: M,
    layout: Once<Layout>,
    leaks: Leaks,
    fragstat: Fragstat,
    debug: Debug,
    pagesets: Pagesets,
    kswapd: [Asked; NodeId::MAX_NODES],
}

impl<M: Machine> Phys<M> {
    /// Before boot: nothing can be allocated.
    #[must_use]
    pub const fn new(machine: M) -> Self {
        Self {
            machine,
            layout: Once::new(Layout::empty()),
            leaks: Leaks::new(),
            fragstat: Fragstat::new(),
            debug: Debug::new(),
            pagesets: Pagesets::new(),
            kswapd: [const { Asked::new() }; NodeId::MAX_NODES],
        }
    }

    /// Builds nodes and zones. The cost does not grow with the amount of memory.
    ///
    /// # Errors
    /// [`BootError`]; nothing is allocated then, and boot can be tried again with zeroed pageblock words.
    ///
    /// # Safety
    /// 1. `config.tables` is valid for [`Tables::size`](crate::frame::Tables::size) of its end (descriptors of 4 MiB
    ///    blocks without RAM excepted), as long as this object is used, and nobody else writes it. Its pageblock
    ///    words are zero.
    /// 2. What `config.memblock` calls free is RAM that nobody else uses.
    /// 3. This object stays where it is as long as it is used.
    pub unsafe fn boot(&self, config: &BootConfig<'_>) -> Result<(), BootError> {
        // SAFETY: promised by the caller.
        self.layout.init(|layout| unsafe { boot::fill(layout, config) }).map_err(|error| match error {
            InitError::Taken => BootError::AlreadyBooted,
            InitError::Failed(error) => error,
        })
    }

    /// The machine that this is the memory of.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    #[inline(always)]
    fn layout(&self) -> Result<&Layout, AllocError> {
        self.layout.get().ok_or(AllocError::NotBooted)
    }

    /// The frame descriptors, for those who keep something in them while they hold a block; none before boot.
    pub(crate) fn frame_table(&self) -> Option<&FrameTable> {
        self.layout.get().map(|layout| &layout.ground.table)
    }

    /// The nodes that have memory or CPUs, in order; none before boot.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.layout.get().into_iter().flat_map(|layout| &layout.nodes).filter(|node| node.online)
    }

    /// The node with this number, if it is online.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.layout.get().map(|layout| layout.node(id)).filter(|node| node.online)
    }

    /// The zones that have RAM, by node, lowest memory first.
    pub fn populated_zones(&self) -> impl Iterator<Item = &Zone> {
        self.nodes().flat_map(Node::zones).filter(|zone| zone.is_populated())
    }

    /// One zone of an online node, with RAM or without.
    pub fn zone(&self, id: ZoneId) -> Option<&Zone> {
        self.node(id.node).map(|node| node.zone(id.kind))
    }

    /// The memory map that the zones were built from; none before boot.
    pub fn memblock(&self) -> Option<&Memblock> {
        self.layout.get().map(|layout| &layout.ground.memblock)
    }

    /// CPUs, nodes and distances; none before boot.
    pub fn topology(&self) -> Option<&Topology> {
        self.layout.get().map(|layout| &layout.topology)
    }

    /// Free pages of all zones.
    pub fn total_free_pages(&self) -> u64 {
        self.nodes().map(Node::free_pages).sum()
    }

    /// Pages that the allocator was given at boot (MemTotal).
    pub fn total_managed_pages(&self) -> u64 {
        self.nodes().map(Node::managed_pages).sum()
    }

    /// Frames whose handles were dropped instead of freed: a bug of the caller.
    pub fn leaked_pages(&self) -> u64 {
        self.leaks.pages()
    }
}
