//! What lies below all zones and never changes after boot: the frame table and the memory map.
//!
//! Owns: the two, and the view of the memory map as runs of pages per node. Invariants: frame 0 is not in any
//! free run, because 0 means "none" in the links of free lists; no 4 MiB block has RAM of two nodes.

use crate::addr::{NodeId, Order, Pfn};
use crate::frame::FrameTable;
use crate::memblock::{Memblock, PageRange};

/// See the module documentation.
pub(super) struct Ground {
    pub(super) table: FrameTable,
    pub(super) memblock: Memblock,
}

/// Frame numbers of one zone or run: first, and first after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Run {
    /// How many frames.
    pub(super) fn pages(self) -> u64 {
        u64::from(self.end - self.start)
    }

    /// The part at or above `low` and below `high`, which may be empty.
    pub(super) fn clamp(self, low: u32, high: u32) -> Self {
        let start = self.start.max(low).min(high);
        Self { start, end: self.end.max(start).min(high.max(start)) }
    }

    /// The part before the first whole 4 MiB block, the whole blocks, and the part after them.
    pub(super) fn split_at_blocks(self) -> (Self, Self, Self) {
        const BLOCK: u32 = Order::MAX.pages() as u32;
        let first = self.start.checked_next_multiple_of(BLOCK).map_or(self.end, |first| first.min(self.end));
        let last = (self.end & !(BLOCK - 1)).max(first);
        (
            Self { start: self.start, end: first },
            Self { start: first, end: last },
            Self { start: last, end: self.end },
        )
    }
}

impl Ground {
    /// No memory.
    pub(super) const EMPTY: Self = Self { table: FrameTable::EMPTY, memblock: Memblock::new() };

    /// The RAM of `node`, as far as the table covers it.
    pub(super) fn memory_runs(&self, node: NodeId) -> impl Iterator<Item = Run> {
        self.runs(self.memblock.memory_pages(), node, 0)
    }

    /// The free RAM of `node`, as far as the table covers it.
    pub(super) fn free_runs(&self, node: NodeId) -> impl Iterator<Item = Run> {
        self.runs(self.memblock.free_pages(), node, 1)
    }

    fn runs<'a>(
        &'a self,
        ranges: impl Iterator<Item = PageRange> + 'a,
        node: NodeId,
        low: u32,
    ) -> impl Iterator<Item = Run> + 'a {
        let (low, high) = (Pfn::from_u32(low), Pfn::from_u32(self.table.end()));
        ranges
            .filter(move |range| range.node.unwrap_or_default() == node)
            .filter_map(move |range| range.clamp(low, high))
            .filter_map(|range| {
                let start = u32::try_from(range.start.get()).ok()?;
                Some(Run { start, end: u32::try_from(range.end.get()).ok()? })
            })
    }
}
