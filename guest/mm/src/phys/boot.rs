//! From the memory map to nodes and zones.
//!
//! Owns: the boot configuration, its checks, and the construction in place. Invariants: the cost depends on the
//! number of ranges, not on the amount of memory; a failed boot can be repeated.

use super::borders::{Borders, ZoneLimits};
use super::error::BootError;
use super::ground::{Ground, Run};
use super::layout::Layout;
use super::topology::Topology;
use super::zone::ZoneFacts;
use super::zonelist::Builder;
use crate::addr::{NodeId, Order, PAGE_SIZE};
use crate::frame::{FrameTable, Tables, ZoneId, ZoneKind};
use crate::memblock::Memblock;

/// What the allocator is built from.
#[derive(Clone, Copy)]
pub struct BootConfig<'a> {
    /// RAM, and what of it is taken: the image, the tables, boot data.
    pub memblock: &'a Memblock,
    /// CPUs, nodes and distances.
    pub topology: &'a Topology,
    /// Zone borders.
    pub zones: ZoneLimits,
    /// Memory for the frame descriptors and, zeroed, the pageblock words, of [`Tables::size`] for the end of RAM.
    pub tables: Tables,
    /// Free blocks merge with their buddies. Without, memory falls to pieces: to show what merging is good for.
    pub merge: bool,
}

/// Builds `layout` from `config`. All checks come before the first change that a repetition would not undo.
///
/// # Safety
/// As for [`FrameTable::new`].
pub(super) unsafe fn fill(layout: &mut Layout, config: &BootConfig<'_>) -> Result<(), BootError> {
    config.zones.check()?;
    if !config.topology.is_valid() {
        return Err(BootError::BadDistance);
    }
    let Layout { ground, nodes, topology } = layout;
    ground.memblock.clone_from(config.memblock);
    ground.memblock.align_nodes(Order::MAX.pages() * PAGE_SIZE)?;
    if ground.memblock.memory_pages().next().is_none() {
        return Err(BootError::NoMemory);
    }
    // SAFETY: promised by the caller.
    ground.table = unsafe { FrameTable::new(&config.tables) }.ok_or(BootError::TableTooSmall)?;
    if u64::from(ground.table.end()) * PAGE_SIZE < ground.memblock.end().get() {
        return Err(BootError::TableTooSmall);
    }
    topology.clone_from(config.topology);
    let borders = Borders::new(config.zones, ground);
    for (id, node) in NodeId::all().zip(nodes.iter_mut()) {
        node.id = id;
        node.span = extent(ground, id);
        node.online = node.span.pages() > 0 || topology.cpus_of(id).next().is_some();
        for (kind, zone) in ZoneKind::ALL.into_iter().zip(&mut node.zones) {
            let id = ZoneId { node: id, kind };
            let facts = facts(ground, id, borders.range(id.node, kind), node.span);
            let top = if config.merge { Order::MAX } else { Order::ZERO };
            zone.boot(ZoneFacts { top, ..facts }, ground);
        }
    }
    let mut populated = [[false; ZoneKind::COUNT]; NodeId::MAX_NODES];
    for (row, node) in populated.iter_mut().zip(nodes.iter()) {
        for (cell, zone) in row.iter_mut().zip(&node.zones) {
            *cell = zone.managed_pages() > 0;
        }
    }
    let has_pages =
        |id: ZoneId| populated.get(id.node.index()).and_then(|row| row.get(id.kind.index())) == Some(&true);
    let mut builder = Builder::new(topology, has_pages);
    for node in nodes.iter_mut().filter(|node| node.online) {
        node.zonelist = builder.build(node.id);
    }
    Ok(())
}

/// From the first to the last page of a node.
fn extent(ground: &Ground, node: NodeId) -> Run {
    let mut runs = ground.memory_runs(node);
    runs.next()
        .map_or(Run::default(), |first| Run { end: runs.last().map_or(first.end, |last| last.end), ..first })
}

/// The fixed facts of a zone.
fn facts(ground: &Ground, id: ZoneId, limits: Run, node_span: Run) -> ZoneFacts {
    let within = |run: Run| run.clamp(limits.start, limits.end).pages();
    ZoneFacts {
        id,
        limits,
        span: node_span.clamp(limits.start, limits.end),
        present: ground.memory_runs(id.node).map(within).sum(),
        managed: ground.free_runs(id.node).map(within).sum(),
        top: Order::MAX,
    }
}
