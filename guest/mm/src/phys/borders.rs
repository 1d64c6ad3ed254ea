//! Where the zones of each node begin and end.
//!
//! Owns: the borders by address, and how much of each node becomes ZONE_MOVABLE. Invariants: all borders are multiples
//! of 4 MiB; the zones of a node are disjoint and cover it; only the highest kind of zone that has memory gives some of
//! it to ZONE_MOVABLE. Source: Linux 6.18 `mm/mm_init.c` (`find_zone_movable_pfns_for_nodes`,
//! `adjust_zone_range_for_zone_movable`).

use super::error::BootError;
use super::ground::{Ground, Run};
use crate::addr::{NodeId, Order, Pfn};
use crate::frame::ZoneKind;

const BLOCK: u64 = Order::MAX.pages();

/// How much memory is for movable pages only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MovableShare {
    /// None.
    #[default]
    None,
    /// So many pages, spread over the nodes (`movablecore=`).
    Pages(u64),
    /// All but so many pages, spread over the nodes (`kernelcore=`).
    AllBut(u64),
}

/// Where zones end. All borders are multiples of 4 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneLimits {
    /// The first frame above ZONE_DMA (`zones.dma=`).
    pub dma_end: Pfn,
    /// The first frame above ZONE_DMA32 (`zones.dma32=`).
    pub dma32_end: Pfn,
    /// The first frame of ZONE_HIGHMEM, which the direct map does not show (`highmem=`), if there is one.
    pub highmem_start: Option<Pfn>,
    /// What becomes ZONE_MOVABLE.
    pub movable: MovableShare,
}

impl ZoneLimits {
    /// Linux's: 16 MiB and 4 GiB.
    pub const LINUX: Self = Self {
        dma_end: Pfn::from_u32(1 << 12),
        dma32_end: Pfn::from_u32(1 << 20),
        highmem_start: None,
        movable: MovableShare::None,
    };

    /// # Errors
    /// [`BootError::BadZoneBoundary`].
    pub(super) fn check(self) -> Result<(), BootError> {
        let aligned = |pfn: Pfn| pfn.is_aligned(Order::MAX);
        let highmem = self.highmem_start.is_none_or(aligned);
        if aligned(self.dma_end) && aligned(self.dma32_end) && highmem && self.dma_end <= self.dma32_end {
            Ok(())
        } else {
            Err(BootError::BadZoneBoundary)
        }
    }

    /// The frame numbers of a kind of zone, before any of them become movable.
    fn range(self, kind: ZoneKind) -> Run {
        let limit = |pfn: Pfn| u32::try_from(pfn.get()).unwrap_or(u32::MAX);
        let high = self.highmem_start.map_or(u32::MAX, limit);
        let (dma, dma32) = (limit(self.dma_end).min(high), limit(self.dma32_end).min(high));
        match kind {
            ZoneKind::Dma => Run { start: 0, end: dma },
            ZoneKind::Dma32 => Run { start: dma, end: dma32 },
            ZoneKind::Normal => Run { start: dma32, end: high },
            ZoneKind::HighMem => Run { start: high, end: u32::MAX },
            ZoneKind::Movable => Run { start: u32::MAX, end: u32::MAX },
        }
    }
}

impl Default for ZoneLimits {
    fn default() -> Self {
        Self::LINUX
    }
}

/// The borders of all zones of all nodes.
pub(super) struct Borders {
    limits: ZoneLimits,
    /// The kind of zone that gives memory to ZONE_MOVABLE.
    giver: ZoneKind,
    /// The first frame of ZONE_MOVABLE of each node; the largest number for none.
    movable: [u32; NodeId::MAX_NODES],
}

impl Borders {
    /// Finds them for the memory of `ground`.
    pub(super) fn new(limits: ZoneLimits, ground: &Ground) -> Self {
        let has_memory = |kind: &ZoneKind| {
            let range = limits.range(*kind);
            NodeId::all()
                .flat_map(|node| ground.memory_runs(node))
                .any(|run| run.clamp(range.start, range.end).pages() > 0)
        };
        let giver = ZoneKind::ALL.into_iter().rev().find(has_memory).unwrap_or_default();
        let mut borders = Self { limits, giver, movable: [u32::MAX; NodeId::MAX_NODES] };
        borders.spread(ground);
        borders
    }

    /// The frame numbers that a zone may have.
    pub(super) fn range(&self, node: NodeId, kind: ZoneKind) -> Run {
        let movable = self.movable.get(node.index()).copied().unwrap_or(u32::MAX);
        let range = self.limits.range(kind);
        match kind {
            ZoneKind::Movable if movable < u32::MAX => {
                Run { start: movable, end: self.limits.range(self.giver).end }
            }
            kind if kind == self.giver => range.clamp(range.start, movable.max(range.start)),
            _ => range,
        }
    }

    /// Gives every node its part of what must not be movable, as evenly as their sizes allow; the rest of the node
    /// becomes movable.
    fn spread(&mut self, ground: &Ground) {
        let total: u64 = NodeId::all().map(|node| pages_of(ground, node)).sum();
        let mut core = match self.limits.movable {
            MovableShare::None => return,
            MovableShare::Pages(pages) => total.saturating_sub(pages.next_multiple_of(BLOCK)),
            MovableShare::AllBut(pages) => pages,
        };
        if core == 0 || core >= total {
            return;
        }
        let first = self.limits.range(self.giver).start;
        let mut starts = [0; NodeId::MAX_NODES];
        let nodes = NodeId::all().filter(|node| pages_of(ground, *node) > 0).count() as u64;
        // Each round shares out what small nodes could not take in the one before.
        for sharers in (1..=nodes).rev() {
            let mut share = core / sharers;
            for (node, start) in NodeId::all().zip(&mut starts) {
                if core < share {
                    share = core / sharers;
                }
                take_core(ground, node, first, start, &mut core, share);
            }
            if core < sharers {
                break;
            }
        }
        for ((node, start), movable) in NodeId::all().zip(starts).zip(&mut self.movable) {
            let start = u64::from(start).next_multiple_of(BLOCK) as u32;
            let end = ground.memory_runs(node).last().map_or(0, |run| run.end);
            if start < end && start >= first {
                *movable = start;
            }
        }
    }
}

fn pages_of(ground: &Ground, node: NodeId) -> u64 {
    ground.memory_runs(node).map(Run::pages).sum()
}

/// Moves the start of the movable part of `node` up by its share of what must not be movable. Memory below `first` cannot be movable.
fn take_core(ground: &Ground, node: NodeId, first: u32, start: &mut u32, core: &mut u64, mut share: u64) {
    for run in ground.memory_runs(node) {
        let run = run.clamp((*start).max(run.start), run.end);
        let below = run.clamp(run.start, first.max(run.start)).pages();
        share = share.saturating_sub(below);
        *core = core.saturating_sub(below);
        if below == run.pages() {
            *start = (*start).max(run.end);
            continue;
        }
        let usable = run.clamp(first, run.end);
        let taken = usable.pages().min(share);
        *start = usable.start + taken as u32;
        *core -= taken.min(*core);
        share -= taken;
        if share == 0 {
            break;
        }
    }
}
