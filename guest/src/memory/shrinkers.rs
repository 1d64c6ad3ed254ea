//! Who keeps memory that others could use, and gives it back when asked.
//!
//! Owns: the one list of [`Shrinkers`], and two of them: freed areas that wait for a flush, whose frames are taken until
//! then, and nodes of indexes that hold nothing but shadows. Others register where their objects are. Stays outside: when they are asked.

use super::PHYS;
use super::areas::AREAS;
use super::vm::{CACHE, STAT};
use crate::machine::CPU;
use crate::report;
use mm::addr::NodeId;
use mm::phys::{GfpFlags, Node};
use mm::shrinker::{Shrink, ShrinkControl, Shrinker, Shrinkers};
use mm::vmstat::VmEvent;

/// Everybody who can be asked.
pub static SHRINKERS: Shrinkers<'static> = Shrinkers::new();

/// Freed areas that wait for a flush. One flush serves them all, so it costs nothing to make one again.
static LAZY_AREAS: Shrinker<'static> = Shrinker::new("vmap-lazy", &LazyAreas).seeks(0).batch(1);

struct LazyAreas;

impl Shrink for LazyAreas {
    fn count_objects(&self, _: &ShrinkControl) -> u64 {
        AREAS.lazy_pages()
    }

    fn scan_objects(&self, control: &mut ShrinkControl) -> Option<u64> {
        let pages = AREAS.purge();
        control.nr_scanned = pages.max(1);
        Some(pages)
    }
}

/// Nodes of indexes with nothing but shadows: only those that are too many, and they cost nothing to lose (Linux
/// `mm-shadow`).
static SHADOW_NODES: Shrinker<'static> = Shrinker::new("mm-shadow", &ShadowNodes).seeks(0).numa_aware();

struct ShadowNodes;

impl Shrink for ShadowNodes {
    fn count_objects(&self, control: &ShrinkControl) -> u64 {
        CACHE.nodes().map_or(0, |nodes| nodes.count_objects(control))
    }

    fn scan_objects(&self, control: &mut ShrinkControl) -> Option<u64> {
        CACHE.nodes()?.scan_objects(control)
    }
}

/// Registers what the kernel itself keeps.
pub fn init() {
    register(&SHADOW_NODES);
    register(&LAZY_AREAS);
}

/// From now on `shrinker` is asked too.
pub fn register(shrinker: &'static Shrinker<'static>) {
    if SHRINKERS.register(&CPU, shrinker).is_err() {
        report::unable(format_args!("no room for shrinker {}", shrinker.name()));
    }
}

/// Asks everybody for a share of what is kept on a node; how many objects were freed.
pub fn shrink_slab(gfp: GfpFlags, node: NodeId, priority: u32) -> u64 {
    SHRINKERS.shrink_slab(&CPU, gfp, node, priority)
}

/// Asks everybody for everything on all nodes (`vm.drop_caches=2`).
pub fn drop_slab() -> u64 {
    STAT.count(&CPU, VmEvent::DropSlab, 1);
    SHRINKERS.drop_slab(&CPU, || PHYS.nodes().map(Node::id))
}
