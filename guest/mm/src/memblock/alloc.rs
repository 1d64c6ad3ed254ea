//! Early allocation: the search for a free range.
//!
//! Owns: what can be asked for and the first-fit search from either end. Stays outside: marking the result as
//! taken. Source: Linux `memblock_find_in_range_node`.

use super::{Memblock, MemblockError, Region};
use crate::addr::{NodeId, PhysAddr, align_down, align_up};

/// From which end free memory is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The lowest range that fits.
    BottomUp,
    /// The highest range that fits (Linux's default: it keeps low memory for devices).
    TopDown,
}

/// Which node the memory comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeChoice {
    /// Any.
    Any,
    /// This one, or any other if it has no room.
    Prefer(NodeId),
    /// This one or none.
    Only(NodeId),
}

/// What to allocate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Bytes.
    pub size: u64,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// The range lies at or above this address.
    pub min: PhysAddr,
    /// The range ends at or below this address.
    pub max: PhysAddr,
    /// The node.
    pub node: NodeChoice,
    /// From which end.
    pub direction: Direction,
}

impl Request {
    /// `size` bytes aligned to `align`, anywhere, from the top.
    #[must_use]
    pub const fn new(size: u64, align: u64) -> Self {
        Self {
            size,
            align,
            min: PhysAddr::truncate(0),
            max: PhysAddr::truncate(u64::MAX),
            node: NodeChoice::Any,
            direction: Direction::TopDown,
        }
    }

    /// The start of the request inside `free`, if it fits there.
    fn place(&self, free: &Region) -> Option<u64> {
        let low = free.start.max(self.min.get());
        let high = free.end.min(self.max.get());
        let start = match self.direction {
            Direction::BottomUp => align_up(low, self.align)?,
            Direction::TopDown => align_down(high.checked_sub(self.size)?, self.align),
        };
        (start >= low && start.checked_add(self.size)? <= high).then_some(start)
    }
}

/// Where `request` fits best, without taking it.
pub(super) fn find(map: &Memblock, request: &Request) -> Result<PhysAddr, MemblockError> {
    if !request.align.is_power_of_two() {
        return Err(MemblockError::BadAlign);
    }
    if request.size == 0 {
        return Err(MemblockError::BadRange);
    }
    let start = match request.node {
        NodeChoice::Any => search(map, request, None),
        NodeChoice::Only(node) => search(map, request, Some(node)),
        NodeChoice::Prefer(node) => search(map, request, Some(node)).or_else(|| search(map, request, None)),
    };
    start.and_then(PhysAddr::new).ok_or(MemblockError::NoSpace)
}

/// The best start among the free ranges of `node`, or of all nodes.
fn search(map: &Memblock, request: &Request, node: Option<NodeId>) -> Option<u64> {
    let mut fits = map
        .free_ranges()
        .filter(|free| node.is_none() || free.node == node)
        .filter_map(|free| request.place(&free));
    match request.direction {
        Direction::BottomUp => fits.next(),
        Direction::TopDown => fits.last(),
    }
}
