//! Allocation flags: bits, zones and text as in Linux.

use mm::frame::{MigrateType, ZoneKind};
use mm::phys::{AllocError, GfpFlags};

/// The combinations have the numbers of Linux 6.18, as its failure messages show them.
#[test]
fn combinations_have_linux_numbers() {
    for (flags, bits) in [
        (GfpFlags::GFP_KERNEL, 0xcc0),
        (GfpFlags::GFP_ATOMIC, 0x820),
        (GfpFlags::GFP_NOIO, 0xc00),
        (GfpFlags::GFP_NOFS, 0xc40),
        (GfpFlags::GFP_NOWAIT, 0x2800),
        (GfpFlags::GFP_USER, 0x10_0cc0),
        (GfpFlags::GFP_DMA, 0x1),
        (GfpFlags::GFP_DMA32, 0x4),
        (GfpFlags::GFP_HIGHUSER, 0x10_0cc2),
        (GfpFlags::GFP_HIGHUSER_MOVABLE, 0x10_0cca),
        (GfpFlags::GFP_KERNEL_ACCOUNT, 0x40_0cc0),
    ] {
        assert_eq!(flags.bits(), bits, "{flags}");
    }
}

/// The text is Linux's: the number, then the largest names that fit.
#[test]
fn text_is_linux_text() {
    let text = |flags: GfpFlags| flags.to_string();
    assert_eq!(text(GfpFlags::GFP_KERNEL), "0xcc0(GFP_KERNEL)");
    assert_eq!(text(GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO), "0xdc0(GFP_KERNEL|__GFP_ZERO)");
    assert_eq!(text(GfpFlags::GFP_KERNEL | GfpFlags::GFP_DMA), "0xcc1(GFP_KERNEL|GFP_DMA)");
    assert_eq!(text(GfpFlags::GFP_HIGHUSER_MOVABLE), "0x100cca(GFP_HIGHUSER_MOVABLE)");
    assert_eq!(text(GfpFlags::GFP_ATOMIC | GfpFlags::__GFP_NOWARN), "0x2820(GFP_ATOMIC|__GFP_NOWARN)");
    assert_eq!(text(GfpFlags::empty()), "0x0(0x0)");
    assert_eq!(text(GfpFlags::from_bits_retain(1 << 9)), "0x200(0x200)");
    for (name, flags) in GfpFlags::all().iter_names() {
        assert_eq!(GfpFlags::parse_name(name), Some(flags));
        let text = text(flags);
        let printed = text.split(['(', ')']).nth(1).and_then(GfpFlags::parse_name);
        assert_eq!(printed, Some(flags), "{text}");
    }
    assert_eq!(GfpFlags::parse_name("GFP_NONSENSE"), None);
}

/// The table of zones is Linux's `GFP_ZONE_TABLE`: eight good and eight bad combinations.
#[test]
fn zones_follow_the_table() {
    use ZoneKind::{Dma, Dma32, HighMem, Movable, Normal};
    let good = [
        (0, Normal),
        (1, Dma),
        (2, HighMem),
        (4, Dma32),
        (8, Normal),
        (9, Dma),
        (0xa, Movable),
        (0xc, Dma32),
    ];
    for bits in 0..16 {
        let expected = good.iter().find(|(good, _)| *good == bits).map(|(_, zone)| *zone);
        let zone = GfpFlags::from_bits_retain(bits | 0xcc0).zone();
        assert_eq!(zone, expected.ok_or(AllocError::BadZoneModifiers), "{bits:#x}");
    }
    assert_eq!(AllocError::BadZoneModifiers.to_string(), "invalid zone modifiers");
}

/// Mobility flags choose the list.
#[test]
fn mobility_chooses_the_migrate_type() {
    assert_eq!(GfpFlags::GFP_KERNEL.migrate_type(), MigrateType::Unmovable);
    assert_eq!(GfpFlags::GFP_HIGHUSER_MOVABLE.migrate_type(), MigrateType::Movable);
    assert_eq!((GfpFlags::GFP_KERNEL | GfpFlags::__GFP_RECLAIMABLE).migrate_type(), MigrateType::Reclaimable);
}
