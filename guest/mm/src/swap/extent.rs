//! Where the slots of an area are on its disk (Linux `struct swap_extent`).

use crate::port::PAGE_SECTORS;

/// Slots in a row that are sectors in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The first slot.
    pub slot: u64,
    /// How many.
    pub pages: u64,
    /// The sector of the first.
    pub sector: u64,
}

/// The sector of slot `slot`, and how many slots from it on are sectors in a row. `extents` are sorted by slot.
pub(super) fn place(extents: &[Extent], slot: u64) -> Option<(u64, u64)> {
    let at = extents.partition_point(|extent| extent.slot <= slot).checked_sub(1)?;
    let extent = extents.get(at)?;
    let inside = slot - extent.slot;
    (inside < extent.pages).then(|| (extent.sector + inside * PAGE_SECTORS, extent.pages - inside))
}

/// Whether `extents` say of each of `pages` slots where it is, once, on a disk of `sectors` sectors.
pub(super) fn is_complete(extents: &[Extent], pages: u64, sectors: u64) -> bool {
    let mut next = 0;
    let all = extents.iter().all(|extent| {
        let follows = extent.slot == next && extent.pages != 0;
        next += extent.pages;
        let end = extent.pages.checked_mul(PAGE_SECTORS).and_then(|len| extent.sector.checked_add(len));
        follows && end.is_some_and(|end| end <= sectors)
    });
    all && next >= pages
}
