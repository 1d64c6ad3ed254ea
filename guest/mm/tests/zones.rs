//! Nodes and zones: borders, fallback order, deferred blocks.

use crate::board::{GIB, MIB, Plan, zone_id};
use mm::frame::ZoneKind;
use mm::phys::GfpFlags;

/// Zone borders, sizes and start frames of a 6 GiB machine are those that Linux shows for its memory map.
#[test]
fn six_gib_has_linux_zone_borders() {
    let plan = Plan::ram(&[0x1000..0x9f000, MIB..3 * GIB, 4 * GIB..7 * GIB]);
    let board = plan.boot();
    let facts = |kind| {
        let zone = board.zone(zone_id(0, kind)).unwrap();
        (zone.start_pfn().get(), zone.spanned_pages(), zone.present_pages())
    };
    assert_eq!(facts(ZoneKind::Dma), (1, 4095, 3998));
    assert_eq!(facts(ZoneKind::Dma32), (4096, 1_044_480, 782_336));
    assert_eq!(facts(ZoneKind::Normal), (1 << 20, 786_432, 786_432));
    board.verify().unwrap();
    let at = board.take(GfpFlags::GFP_KERNEL, 0).unwrap();
    assert_eq!(board.zone_of(at).kind, ZoneKind::Normal);
    board.give(at, 0).unwrap();
    board.verify().unwrap();
}
