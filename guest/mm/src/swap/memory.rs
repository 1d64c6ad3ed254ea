//! The memory of an area: one block that its maker sets aside, divided (Linux: `vzalloc` of `swap_map` and the others).
//!
//! Owns: the division. Invariants: the parts do not overlap, and lie in the block.

use super::area::Maps;
use super::cluster::{Cluster, SLOTS};
use super::extent::Extent;
use crate::xarray::XArray;
use core::ptr::NonNull;

/// Slots of one index of the swap cache: 64 MiB (Linux `SWAP_ADDRESS_SPACE_PAGES`).
pub(super) const SPACE_SLOTS: u64 = 1 << 14;

/// Where the parts of a block begin.
struct Division {
    clusters: usize,
    zeroes: usize,
    extents: usize,
    map: usize,
    end: usize,
}

impl Division {
    /// For `slots` slots and `extents` extents.
    const fn new(slots: u64, extents: u64) -> Self {
        let spaces = slots.div_ceil(SPACE_SLOTS) as usize * size_of::<XArray>();
        let zeroes = spaces.next_multiple_of(8);
        let extents_at = zeroes + slots.div_ceil(64) as usize * 8;
        let clusters = extents_at + extents as usize * size_of::<Extent>();
        let map = clusters + slots.div_ceil(SLOTS) as usize * size_of::<Cluster>();
        Self { clusters, zeroes, extents: extents_at, map, end: map + slots as usize }
    }
}

const _: () = assert!(align_of::<XArray>() <= 64 && align_of::<Extent>() == 8 && align_of::<Cluster>() == 4);

/// How many bytes an area of `slots` slots in `extents` parts needs.
#[must_use]
pub const fn area_bytes(slots: u64, extents: u64) -> u64 {
    Division::new(slots, extents).end as u64
}

/// A block for an area: as many bytes as [`area_bytes`] says, aligned to 64.
#[derive(Clone, Copy, Debug)]
pub struct AreaMemory(pub NonNull<u8>);

// SAFETY: whoever has it by value is its only user; it is an address that can be used on any CPU.
unsafe impl Send for AreaMemory {}

/// Divides `block` for an area of `slots` slots at `extents`.
///
/// # Safety
/// The block is as large as [`area_bytes`] says, and the caller's alone as long as the results are used.
pub(super) unsafe fn divide<'p>(
    block: AreaMemory,
    slots: u64,
    extents: &[Extent],
) -> (Maps<'p>, &'p [XArray]) {
    let parts = Division::new(slots, extents.len() as u64);
    let spaces = slots.div_ceil(SPACE_SLOTS) as usize;
    let (clusters, words) = (slots.div_ceil(SLOTS) as usize, slots.div_ceil(64) as usize);
    let base = block.0;
    // SAFETY: the parts lie in the block at multiples of their alignment and do not overlap (`Division`); each is written
    // before a slice is made of it, and nobody else uses the block.
    unsafe {
        let arrays = base.cast::<XArray>();
        (0..spaces).for_each(|at| arrays.add(at).write(XArray::new()));
        base.add(parts.zeroes).write_bytes(0, parts.end - parts.zeroes);
        let list = base.add(parts.extents).cast::<Extent>();
        extents.iter().enumerate().for_each(|(at, extent)| list.add(at).write(*extent));
        let table = base.add(parts.clusters).cast::<Cluster>();
        (0..clusters).for_each(|at| table.add(at).write(Cluster::NEW));
        let maps = Maps {
            map: NonNull::slice_from_raw_parts(base.add(parts.map), slots as usize).as_mut(),
            clusters: NonNull::slice_from_raw_parts(table, clusters).as_mut(),
            zeroes: NonNull::slice_from_raw_parts(base.add(parts.zeroes).cast::<u64>(), words).as_mut(),
            extents: NonNull::slice_from_raw_parts(list, extents.len()).as_ref(),
        };
        (maps, NonNull::slice_from_raw_parts(arrays, spaces).as_ref())
    }
}
