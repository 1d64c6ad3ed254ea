//! `/proc/buddyinfo` and `/proc/pagetypeinfo`: free blocks by order, and by migrate type; indexes of fragmentation.

use crate::memory::PHYS;
use core::fmt::{self, Write};
use mm::addr::Order;
use mm::frame::MigrateType;
use mm::phys::Zone;
use shared::text::ORDERS;
use shared::text::buddyinfo::{ZoneBlocks, write_zone};
use shared::text::extfrag::{self, Index};
use shared::text::pagetypeinfo::{PageTypes, ZoneTypes};

const _: () = assert!(ORDERS == Order::COUNT);

/// One number an order.
fn by_order(count: impl Fn(Order) -> u32) -> [u64; ORDERS] {
    core::array::from_fn(|order| Order::new(order as u32).map_or(0, |order| u64::from(count(order))))
}

/// Free blocks of a zone, by order.
pub fn free_blocks(zone: &Zone) -> [u64; ORDERS] {
    by_order(|order| zone.free_blocks_of_order(order))
}

/// Writes `/proc/buddyinfo`.
pub fn buddyinfo(w: &mut dyn Write) -> fmt::Result {
    PHYS.populated_zones().try_for_each(|zone| {
        let free = free_blocks(zone);
        write_zone(w, &ZoneBlocks { node: zone.id().node.index() as u32, zone: zone.id().kind.name(), free })
    })
}

/// Writes `/proc/pagetypeinfo`.
pub fn pagetypeinfo(w: &mut dyn Write) -> fmt::Result {
    let names = MigrateType::ALL.map(MigrateType::name);
    let types = PageTypes { pageblock_order: Order::PAGEBLOCK.get(), types: &names };
    types.write_head(w)?;
    for zone in PHYS.populated_zones() {
        with_types(zone, |zone| types.write_free(w, zone))?;
    }
    types.write_middle(w)?;
    PHYS.populated_zones().try_for_each(|zone| with_types(zone, |zone| types.write_blocks(w, zone)))
}

/// Writes `unusable_index`.
pub fn unusable_index(w: &mut dyn Write) -> fmt::Result {
    indexes(w, Index::Unusable, |zone, order| zone.unusable_index(order) as i32)
}

/// Writes `extfrag_index`.
pub fn extfrag_index(w: &mut dyn Write) -> fmt::Result {
    indexes(w, Index::Fragmentation, Zone::fragmentation_index)
}

fn indexes(w: &mut dyn Write, index: Index, value: impl Fn(&Zone, Order) -> i32) -> fmt::Result {
    PHYS.populated_zones().try_for_each(|zone| {
        let values = core::array::from_fn(|n| Order::new(n as u32).map_or(0, |order| value(zone, order)));
        extfrag::write_zone(w, index, zone.id().node.index() as u32, zone.id().kind.name(), &values)
    })
}

fn with_types(zone: &Zone, write: impl FnOnce(&ZoneTypes<'_>) -> fmt::Result) -> fmt::Result {
    let free = MigrateType::ALL.map(|mt| by_order(|order| zone.free_blocks(order, mt)));
    let blocks = PHYS.pageblock_counts(zone.id());
    write(&ZoneTypes {
        node: zone.id().node.index() as u32,
        zone: zone.id().kind.name(),
        free: &free,
        blocks: &blocks,
    })
}
