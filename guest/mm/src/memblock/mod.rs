//! The boot-time memory map: which physical memory exists, which of it is taken, and by which node.
//!
//! Owns: two sorted range lists of fixed size and early allocation from the difference. Stays outside: parsing
//! of firmware tables and of the command line, and every page after boot (`phys` takes what is free here).
//! Invariants: each list is sorted, its ranges are non-empty, do not overlap, and neighbours of the same node
//! are merged; a call that fails changes nothing. Source: Linux `mm/memblock.c`.

mod alloc;
mod iter;
mod regions;

use crate::addr::{NodeId, PhysAddr, align_up};
pub use alloc::{Direction, NodeChoice, Request};
use core::fmt;
pub use iter::{FreeRanges, PageRange};
pub use regions::Region;
use regions::RegionList;

/// How many ranges each of the two lists can hold.
pub const CAPACITY: usize = 128;

/// Why a call on the memory map was refused. The map is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemblockError {
    /// The list would need more than [`CAPACITY`] ranges.
    Full,
    /// The range is empty or does not fit 52 address bits.
    BadRange,
    /// The alignment is not a power of two.
    BadAlign,
    /// No free range satisfies the request.
    NoSpace,
}

impl fmt::Display for MemblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "memory map needs more than {CAPACITY} ranges"),
            Self::BadRange => write!(f, "memory range is empty or ends above 2^52"),
            Self::BadAlign => write!(f, "alignment is not a power of two"),
            Self::NoSpace => write!(f, "no free memory range is large enough"),
        }
    }
}

/// The memory map. See the module documentation.
#[derive(Clone)]
pub struct Memblock {
    memory: RegionList,
    reserved: RegionList,
}

/// `base` and `size` in bytes as a checked half-open range.
fn checked(base: PhysAddr, size: u64) -> Result<(u64, u64), MemblockError> {
    let end = base.get().checked_add(size).ok_or(MemblockError::BadRange)?;
    if size == 0 || end > 1 << crate::addr::PHYS_BITS {
        return Err(MemblockError::BadRange);
    }
    Ok((base.get(), end))
}

impl Memblock {
    /// No memory at all.
    #[must_use]
    pub const fn new() -> Self {
        Self { memory: RegionList::new(), reserved: RegionList::new() }
    }

    /// Adds `size` bytes of RAM at `base`; what is already known keeps its node. Also `memmap=nn@ss`.
    ///
    /// # Errors
    /// [`MemblockError::BadRange`], [`MemblockError::Full`].
    pub fn add(&mut self, base: PhysAddr, size: u64, node: Option<NodeId>) -> Result<(), MemblockError> {
        let (start, end) = checked(base, size)?;
        self.memory = self.memory.with_added(start, end, node)?;
        Ok(())
    }

    /// Takes a range out of RAM: it belongs to firmware or a device. Also `memmap=nn$ss` and `nn#ss`.
    ///
    /// # Errors
    /// [`MemblockError::BadRange`], [`MemblockError::Full`].
    pub fn remove(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        let (start, end) = checked(base, size)?;
        self.memory = self.memory.with_removed(start, end)?;
        Ok(())
    }

    /// Cuts off all RAM at and above `end` (`mem=nn`, which on x86 names an address, not an amount).
    ///
    /// # Errors
    /// None in practice: cutting never needs more ranges.
    pub fn limit(&mut self, end: PhysAddr) -> Result<(), MemblockError> {
        self.memory = self.memory.with_removed(end.get(), u64::MAX)?;
        Ok(())
    }

    /// Marks a range as taken; it need not be RAM and may overlap what is taken already.
    ///
    /// # Errors
    /// [`MemblockError::BadRange`], [`MemblockError::Full`].
    pub fn reserve(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        let (start, end) = checked(base, size)?;
        self.reserved = self.reserved.with_added(start, end, None)?;
        Ok(())
    }

    /// Gives a taken range back (Linux `memblock_phys_free`).
    ///
    /// # Errors
    /// [`MemblockError::BadRange`], [`MemblockError::Full`].
    pub fn release(&mut self, base: PhysAddr, size: u64) -> Result<(), MemblockError> {
        let (start, end) = checked(base, size)?;
        self.reserved = self.reserved.with_removed(start, end)?;
        Ok(())
    }

    /// Says which node the RAM of a range belongs to.
    ///
    /// # Errors
    /// [`MemblockError::BadRange`], [`MemblockError::Full`].
    pub fn set_node(&mut self, base: PhysAddr, size: u64, node: NodeId) -> Result<(), MemblockError> {
        let (start, end) = checked(base, size)?;
        self.memory = self.memory.with_node(start, end, node)?;
        Ok(())
    }

    /// Moves every border between two nodes up to a multiple of `align` bytes, so that no block of that size
    /// has two nodes: the block goes to the node of its first RAM.
    ///
    /// # Errors
    /// [`MemblockError::BadAlign`], [`MemblockError::Full`].
    pub fn align_nodes(&mut self, align: u64) -> Result<(), MemblockError> {
        if !align.is_power_of_two() {
            return Err(MemblockError::BadAlign);
        }
        let mut list = RegionList::new();
        // The end of the last block that has an owner, and that owner.
        let (mut owned_to, mut owner) = (0, None);
        for region in self.memory.as_slice() {
            let border = region.end.min(owned_to.max(region.start));
            list.push(Region { end: border, node: owner, ..*region })?;
            list.push(Region { start: border, ..*region })?;
            if border < region.end {
                owned_to = align_up(region.end, align).unwrap_or(u64::MAX);
                owner = region.node;
            }
        }
        self.memory = list;
        Ok(())
    }

    /// The RAM, sorted.
    #[must_use]
    pub fn memory(&self) -> &[Region] {
        self.memory.as_slice()
    }

    /// What is taken, sorted.
    #[must_use]
    pub fn reserved(&self) -> &[Region] {
        self.reserved.as_slice()
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn memory_size(&self) -> u64 {
        self.memory().iter().map(Region::size).sum()
    }

    /// The first address above all RAM; 0 if there is none.
    #[must_use]
    pub fn end(&self) -> PhysAddr {
        PhysAddr::truncate(self.memory().last().map_or(0, |region| region.end))
    }

    /// The RAM that is not taken, sorted, in bytes.
    #[must_use]
    pub fn free_ranges(&self) -> FreeRanges<'_> {
        FreeRanges::new(self.memory(), self.reserved())
    }

    /// The RAM as whole pages, sorted.
    pub fn memory_pages(&self) -> impl Iterator<Item = PageRange> {
        self.memory().iter().copied().filter_map(PageRange::inside)
    }

    /// The RAM that is not taken as whole pages, sorted.
    pub fn free_pages(&self) -> impl Iterator<Item = PageRange> {
        self.free_ranges().filter_map(PageRange::inside)
    }

    /// Allocates and reserves a range.
    ///
    /// # Errors
    /// [`MemblockError::BadAlign`], [`MemblockError::BadRange`] for size 0, [`MemblockError::NoSpace`],
    /// [`MemblockError::Full`].
    pub fn alloc(&mut self, request: &Request) -> Result<PhysAddr, MemblockError> {
        let start = alloc::find(self, request)?;
        self.reserve(start, request.size)?;
        Ok(start)
    }
}

impl Default for Memblock {
    fn default() -> Self {
        Self::new()
    }
}
