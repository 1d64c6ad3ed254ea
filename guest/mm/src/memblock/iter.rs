//! Iteration over free memory: RAM minus what is taken.
//!
//! Owns: the sweep over both lists and the rounding to whole pages. Invariants: ranges come sorted and disjoint;
//! a page is free only if every byte of it is.

use super::Region;
use crate::addr::{NodeId, PAGE_SHIFT, PAGE_SIZE, Pfn, align_down, align_up};

/// The free ranges of a memory map in bytes, in ascending order.
pub struct FreeRanges<'a> {
    memory: &'a [Region],
    reserved: &'a [Region],
    /// Everything below has been handled.
    position: u64,
}

impl<'a> FreeRanges<'a> {
    pub(super) fn new(memory: &'a [Region], reserved: &'a [Region]) -> Self {
        Self { memory, reserved, position: 0 }
    }
}

impl Iterator for FreeRanges<'_> {
    type Item = Region;

    fn next(&mut self) -> Option<Region> {
        while let Some((region, later)) = self.memory.split_first() {
            let start = self.position.max(region.start);
            if start >= region.end {
                self.memory = later;
                continue;
            }
            match self.reserved.split_first() {
                Some((taken, later)) if taken.end <= start => self.reserved = later,
                Some((taken, _)) if taken.start <= start => self.position = taken.end,
                taken => {
                    let end = taken.map_or(region.end, |(taken, _)| region.end.min(taken.start));
                    self.position = end;
                    return Some(Region { start, end, node: region.node });
                }
            }
        }
        None
    }
}

/// A non-empty run of whole pages of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRange {
    /// First page.
    pub start: Pfn,
    /// First page after it.
    pub end: Pfn,
    /// The node, if known.
    pub node: Option<NodeId>,
}

impl PageRange {
    /// The whole pages inside `region`; `None` if there is none.
    pub(super) fn inside(region: Region) -> Option<Self> {
        let start = Pfn::new(align_up(region.start, PAGE_SIZE)? >> PAGE_SHIFT)?;
        let end = Pfn::new(align_down(region.end, PAGE_SIZE) >> PAGE_SHIFT)?;
        (start < end).then_some(Self { start, end, node: region.node })
    }

    /// The part at or above `low` and below `high`; `None` if there is none.
    #[must_use]
    pub fn clamp(self, low: Pfn, high: Pfn) -> Option<Self> {
        let (start, end) = (self.start.max(low), self.end.min(high));
        (start < end).then_some(Self { start, end, ..self })
    }

    /// How many pages.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.end.get() - self.start.get()
    }
}
