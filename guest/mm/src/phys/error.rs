//! What can go wrong, one variant per distinct reaction of the caller.

use crate::addr::{Order, Pfn};
use crate::errno::Errno;
use crate::memblock::MemblockError;
use core::fmt;

/// Why nothing was allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// No zone that the flags allow has a block that large.
    OutOfMemory,
    /// The flags ask for two zones at once.
    BadZoneModifiers,
    /// The size is 0 or above the largest block.
    BadSize,
    /// The node does not exist.
    BadNode,
    /// Memory outside the direct map was allowed where an address is asked for.
    NoHighmem,
    /// The allocator has not been booted.
    NotBooted,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "out of memory",
            Self::BadZoneModifiers => "invalid zone modifiers",
            Self::BadSize => "bad size",
            Self::BadNode => "no such node",
            Self::NoHighmem => "__GFP_HIGHMEM not allowed",
            Self::NotBooted => "page allocator is not booted",
        })
    }
}

/// Why a block was not taken back. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeError {
    /// The frame is not RAM that the allocator has handed out, ever.
    BadPfn(Pfn),
    /// No page of the direct map starts at the address.
    BadAddress(usize),
    /// The frame is free already.
    DoubleFree(Pfn),
    /// The frame is reserved, or inside of a block or of an arena that somebody holds.
    NotOwned(Pfn),
    /// The block that starts at the frame has another order.
    WrongOrder {
        /// The frame.
        pfn: Pfn,
        /// The order that it was allocated with.
        allocated: Order,
    },
}

impl fmt::Display for FreeError {
    /// The text after `BUG: `, or after `error: ` for a frame number that never was one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPfn(pfn) => write!(f, "bad pfn {:#x}", pfn.get()),
            Self::BadAddress(at) => write!(f, "bad address {at:#x}"),
            Self::DoubleFree(pfn) => write!(f, "Bad page state pfn={:#x} (double free)", pfn.get()),
            Self::NotOwned(pfn) => write!(f, "Bad page state pfn={:#x} (not allocated)", pfn.get()),
            Self::WrongOrder { pfn, allocated } => {
                write!(f, "Bad page state pfn={:#x} (allocated with order {})", pfn.get(), allocated.get())
            }
        }
    }
}

/// Why the allocator could not be booted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootError {
    /// It is booted already.
    AlreadyBooted,
    /// The memory map has no page of RAM.
    NoMemory,
    /// The tables do not cover the RAM, or frame numbers do not fit 32 bits (16 TiB).
    TableTooSmall,
    /// A zone boundary is not a multiple of 4 MiB, or DMA ends above DMA32.
    BadZoneBoundary,
    /// A distance between nodes is below 10, or not 10 from a node to itself.
    BadDistance,
    /// The memory map refused a change.
    Memblock(MemblockError),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyBooted => f.write_str("page allocator is booted already"),
            Self::NoMemory => f.write_str("memory map has no RAM"),
            Self::TableTooSmall => f.write_str("frame table does not cover all RAM"),
            Self::BadZoneBoundary => {
                f.write_str("zone boundaries must be multiples of 4 MiB, DMA below DMA32")
            }
            Self::BadDistance => {
                f.write_str("node distances must be 10 to the node itself and more to others")
            }
            Self::Memblock(error) => error.fmt(f),
        }
    }
}

impl From<MemblockError> for BootError {
    fn from(error: MemblockError) -> Self {
        Self::Memblock(error)
    }
}

impl From<AllocError> for Errno {
    fn from(_: AllocError) -> Self {
        Self::Enomem
    }
}
