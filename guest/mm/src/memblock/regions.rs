//! A sorted list of disjoint ranges with a node each.
//!
//! Owns: the list invariant. Every change builds a new list by one sweep over the old one and [`RegionList::push`]
//! merges as it goes, so a failed change leaves the old list in place and no index arithmetic is needed.
//! Invariants: sorted, non-empty, disjoint, adjacent ranges of one node merged, at most [`CAPACITY`] of them.

use super::{CAPACITY, MemblockError};
use crate::addr::NodeId;

/// A range of physical memory in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// The node it belongs to, if known.
    pub node: Option<NodeId>,
}

impl Region {
    const EMPTY: Self = Self { start: 0, end: 0, node: None };

    /// Bytes in the range.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.end - self.start
    }
}

/// See the module documentation.
#[derive(Clone)]
pub(super) struct RegionList {
    len: usize,
    items: [Region; CAPACITY],
}

impl RegionList {
    /// No ranges.
    pub(super) const fn new() -> Self {
        Self { len: 0, items: [Region::EMPTY; CAPACITY] }
    }

    /// The ranges, sorted.
    pub(super) fn as_slice(&self) -> &[Region] {
        self.items.get(..self.len).unwrap_or_default()
    }

    /// Appends a range that starts at or after the end of the last one. Empty ranges vanish.
    pub(super) fn push(&mut self, region: Region) -> Result<(), MemblockError> {
        if region.start >= region.end {
            return Ok(());
        }
        if let Some(last) = self.len.checked_sub(1).and_then(|i| self.items.get_mut(i))
            && last.end == region.start
            && last.node == region.node
        {
            last.end = region.end;
            return Ok(());
        }
        *self.items.get_mut(self.len).ok_or(MemblockError::Full)? = region;
        self.len += 1;
        Ok(())
    }

    /// This list and `start..end`; parts that are already there keep their node.
    pub(super) fn with_added(
        &self,
        start: u64,
        end: u64,
        node: Option<NodeId>,
    ) -> Result<Self, MemblockError> {
        let mut list = Self::new();
        // Everything of the new range below `next` is in the list.
        let mut next = start;
        for region in self.as_slice() {
            list.push(Region { start: next, end: end.min(region.start), node })?;
            list.push(*region)?;
            next = next.max(region.end);
        }
        list.push(Region { start: next, end, node })?;
        Ok(list)
    }

    /// This list without `start..end`.
    pub(super) fn with_removed(&self, start: u64, end: u64) -> Result<Self, MemblockError> {
        let mut list = Self::new();
        for region in self.as_slice() {
            list.push(Region { end: region.end.min(start), ..*region })?;
            list.push(Region { start: region.start.max(end), ..*region })?;
        }
        Ok(list)
    }

    /// This list with `node` for all that lies in `start..end`.
    pub(super) fn with_node(&self, start: u64, end: u64, node: NodeId) -> Result<Self, MemblockError> {
        let mut list = Self::new();
        for region in self.as_slice() {
            list.push(Region { end: region.end.min(start), ..*region })?;
            list.push(Region { start: region.start.max(start), end: region.end.min(end), node: Some(node) })?;
            list.push(Region { start: region.start.max(end), ..*region })?;
        }
        Ok(list)
    }
}
