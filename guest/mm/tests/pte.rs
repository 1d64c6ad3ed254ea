//! The x86-64 codec: every word and every view survive the round trip.

use crate::map_fixture::Rng;
use mm::addr::{Pfn, PhysAddr};
use mm::pgtable::X86_64;
use mm::port::{Pte, PteBits, PteCodec, PteView, SwapEntry};

const ROUNDS: u32 = 1 << 20;

/// A random view of each kind in turn.
fn random_view(rng: &mut Rng) -> PteView {
    let addr = Pfn::new(rng.next() >> 24).unwrap().addr();
    let bits = PteBits::from_bits_truncate(rng.next() as u32);
    let parked = bits - PteBits::PRESENT;
    match rng.next() % 6 {
        0 => PteView::None,
        1 => PteView::Present { addr, bits: bits | PteBits::PRESENT },
        2 => PteView::ProtNone { addr, bits: parked },
        3 => PteView::Migration { addr, bits: parked },
        4 => {
            let entry = SwapEntry::new(rng.next() as u32 % 32, rng.next() >> 24).unwrap();
            PteView::Swap { entry, bits: parked }
        }
        _ => PteView::Poisoned { pfn: addr.pfn() },
    }
}

#[test]
fn a_million_views_round_trip() {
    let mut rng = Rng(1);
    for _ in 0..ROUNDS {
        let view = random_view(&mut rng);
        let pte = X86_64::encode(view);
        assert_eq!(X86_64::view(pte), view);
        let present = matches!(view, PteView::Present { .. });
        assert_eq!(X86_64::is_present(pte), present);
        assert_eq!(pte.raw() & 1 == 1, present, "the MMU must agree");
        assert_eq!(pte.is_none(), view == PteView::None);
    }
}

#[test]
fn a_million_words_round_trip() {
    let mut rng = Rng(2);
    let mut good = 0;
    for i in 0..ROUNDS {
        // Half of the words have a clean middle, or nearly all would be bad ones.
        let mask = if i % 2 == 0 { !0 } else { 0x809f_ffff_ffff_ffff };
        let raw = rng.next() & mask;
        let view = X86_64::view(Pte::from_raw(raw));
        good += u32::from(!matches!(view, PteView::Bad { .. }));
        assert_eq!(X86_64::encode(view).raw(), raw);
    }
    assert!(good > ROUNDS / 4, "only {good} words meant anything");
}

#[test]
fn bits_are_where_the_hardware_has_them() {
    let hardware = [
        (PteBits::PRESENT, 0),
        (PteBits::WRITE, 1),
        (PteBits::USER, 2),
        (PteBits::WRITE_THROUGH, 3),
        (PteBits::NO_CACHE, 4),
        (PteBits::ACCESSED, 5),
        (PteBits::DIRTY, 6),
        (PteBits::HUGE, 7),
        (PteBits::GLOBAL, 8),
        (PteBits::NO_EXEC, 63),
    ];
    let addr = PhysAddr::new(0x000f_ffff_ffff_f000).unwrap();
    for (bits, position) in hardware {
        assert_eq!(X86_64::present(addr, bits).raw(), addr.get() | 1 | 1 << position, "{bits:?}");
    }
    // What the MMU ignores is all that is left for software.
    let software = PteBits::SPECIAL | PteBits::UFFD_WP | PteBits::SOFT_DIRTY | PteBits::EXCLUSIVE;
    let ignored = 0x7ff0_0000_0000_0e00;
    assert_eq!(X86_64::present(PhysAddr::default(), software).raw() & !ignored, 1);
    let table = X86_64::present(PhysAddr::new(0x5000).unwrap(), X86_64::TABLE_BITS);
    assert_eq!(table.raw(), 0x5067);
}

#[test]
fn changing_bits_keeps_kind_and_place() {
    let mut rng = Rng(3);
    for _ in 0..ROUNDS / 16 {
        let view = random_view(&mut rng);
        let new = PteBits::from_bits_truncate(rng.next() as u32);
        let parked = new - PteBits::PRESENT;
        let expected = match view {
            PteView::Present { addr, .. } => PteView::Present { addr, bits: new | PteBits::PRESENT },
            PteView::ProtNone { addr, .. } => PteView::ProtNone { addr, bits: parked },
            PteView::Migration { addr, .. } => PteView::Migration { addr, bits: parked },
            PteView::Swap { entry, .. } => PteView::Swap { entry, bits: parked },
            PteView::None | PteView::Poisoned { .. } | PteView::Bad { .. } => continue,
        };
        let pte = X86_64::with_bits(X86_64::encode(view), new);
        assert_eq!(X86_64::view(pte), expected);
        assert_eq!(X86_64::bits(pte).contains(PteBits::PRESENT), X86_64::is_present(pte));
        if let PteView::Present { addr, .. } = expected {
            assert_eq!(X86_64::view(X86_64::prot_none(pte)), PteView::ProtNone { addr, bits: parked });
        }
    }
}

#[test]
fn advancing_moves_frames_and_swap_pages_alike() {
    let mut rng = Rng(4);
    for _ in 0..ROUNDS / 16 {
        let step = rng.next() % 512;
        let view = random_view(&mut rng);
        let moved = X86_64::view(X86_64::advance(X86_64::encode(view), step));
        let later = |addr: PhysAddr| addr.pfn().checked_add(step).map(Pfn::addr);
        let expected = match view {
            PteView::Present { addr, bits } => later(addr).map(|addr| PteView::Present { addr, bits }),
            PteView::ProtNone { addr, bits } => later(addr).map(|addr| PteView::ProtNone { addr, bits }),
            PteView::Migration { addr, bits } => later(addr).map(|addr| PteView::Migration { addr, bits }),
            PteView::Swap { entry, bits } => {
                SwapEntry::new(entry.area(), entry.offset() + step).map(|entry| PteView::Swap { entry, bits })
            }
            PteView::None | PteView::Poisoned { .. } | PteView::Bad { .. } => None,
        };
        if let Some(expected) = expected {
            assert_eq!(moved, expected);
        }
    }
}

#[test]
fn swap_entries_are_checked() {
    assert!(SwapEntry::new(31, (1 << 40) - 1).is_some());
    assert_eq!(SwapEntry::new(32, 0), None);
    assert_eq!(SwapEntry::new(0, 1 << 40), None);
}

#[test]
fn meaningless_words_are_bad() {
    let kinds = 5..=7_u64;
    let words =
        kinds.map(|k| k << 52).chain([2, 0x1000, 1 << 61, 1 << 62 | 1, 1 << 52 | 1, 2 << 52 | 1 << 56]);
    for raw in words.chain([4 << 52 | 2]) {
        assert_eq!(X86_64::view(Pte::from_raw(raw)), PteView::Bad { raw }, "{raw:#x}");
    }
}
