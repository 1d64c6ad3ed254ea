//! Where guest RAM lies in guest-physical space.
//!
//! Owns: the arithmetic that lays the memory of the NUMA nodes out below and above the PCI hole.
//! Stays outside: which host memory backs a range (`memory`), what firmware reserves (`boot::e820`).
//! Invariants: ranges are sorted, disjoint and non-empty, belong to one node each, and never touch
//! the hole; node memory is handed out in node order.

/// First guest-physical byte of the hole that devices, IOAPIC and local APICs use.
pub const HOLE_START: u64 = 3 << 30;
/// First guest-physical byte above the hole.
pub const HOLE_END: u64 = 4 << 30;
/// Sizes and boundaries of RAM are multiples of this, so that a 2 MiB host page serves one node.
pub const RAM_GRANULE: u64 = 2 << 20;

/// One stretch of RAM of one NUMA node; it becomes one memslot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RamRange {
    /// First guest-physical byte.
    pub base: u64,
    /// Length in bytes, never 0.
    pub size: u64,
    /// The node the range belongs to.
    pub node: u32,
}

impl RamRange {
    /// First guest-physical byte after the range.
    pub fn end(&self) -> u64 {
        self.base + self.size
    }
}

/// Lays out `node_sizes` (bytes per node, in node order, 0 for a node without memory).
///
/// A node that straddles the hole gets two ranges.
pub fn ram_ranges(node_sizes: &[u64]) -> Vec<RamRange> {
    let mut ranges = Vec::with_capacity(node_sizes.len() + 1);
    let mut next = 0;
    for (node, &size) in (0..).zip(node_sizes) {
        let below = if next < HOLE_START { size.min(HOLE_START - next) } else { 0 };
        if below > 0 {
            ranges.push(RamRange { base: next, size: below, node });
            next += below;
        }
        let above = size - below;
        if above > 0 {
            next = next.max(HOLE_END);
            ranges.push(RamRange { base: next, size: above, node });
            next += above;
        }
    }
    ranges
}

/// First guest-physical byte above all RAM, or 0 without RAM.
pub fn ram_top(ranges: &[RamRange]) -> u64 {
    ranges.last().map_or(0, RamRange::end)
}

#[cfg(test)]
mod tests;
