//! The x86-64 page-table entry: a codec of pure integer operations.
//!
//! Owns: bit positions. Stays outside: what the CPU does with them (the MMU, or `sim`'s model of it).
//!
//! | bits | present | not present |
//! |---|---|---|
//! | 0 | 1 | 0 |
//! | 1-8 | RW US PWT PCD A D PS G | kept as they were |
//! | 9-11 | special, uffd-wp, soft-dirty | kept |
//! | 12-51 | address | address, or offset in the swap area |
//! | 52-54 | 0 | kind: 1 swap, 2 migration, 3 prot-none, 4 poisoned |
//! | 55 | exclusive | kept |
//! | 56-60 | 0 | number of the swap area |
//! | 61-62 | 0 | 0 |
//! | 63 | NX | kept |
//!
//! Every kind has its flags and its address in one place, so that changing rights and splitting a huge leaf
//! are the same operation on all of them. PAT (bit 7 of a 4 KiB leaf, bit 12 of a larger one) stays 0.
//! Unlike Linux, offsets are not inverted: the guest owns its whole machine, so L1TF has nobody to read from.
//! Source: Intel SDM vol. 3 table 4-20; Linux `arch/x86/include/asm/pgtable_types.h`.

use crate::addr::{PAGE_SHIFT, PhysAddr};
use crate::port::{Pte, PteBits, PteCodec, PteView, SwapEntry};

/// Bits 0 to 11: the flags that [`PteBits`] numbers as the hardware does.
const LOW: u64 = 0xfff;
/// The address field: bits 12 to 51.
const ADDR: u64 = 0x000f_ffff_ffff_f000;
/// The kind of an entry that is not present.
const KIND: u64 = 7 << KIND_SHIFT;
const KIND_SHIFT: u32 = 52;
const SWAP: u64 = 1 << KIND_SHIFT;
const MIGRATION: u64 = 2 << KIND_SHIFT;
const PROT_NONE: u64 = 3 << KIND_SHIFT;
const POISONED: u64 = 4 << KIND_SHIFT;
const EXCLUSIVE: u64 = 1 << 55;
/// The swap area.
const AREA: u64 = 31 << AREA_SHIFT;
const AREA_SHIFT: u32 = 56;
const NX: u64 = 1 << 63;
/// Every flag bit.
const FLAGS: u64 = LOW | EXCLUSIVE | NX;
/// From the position of a high flag in [`PteBits`] to its position in the word.
const NX_SHIFT: u32 = 63 - PteBits::NO_EXEC.bits().trailing_zeros();
const EXCLUSIVE_SHIFT: u32 = 55 - PteBits::EXCLUSIVE.bits().trailing_zeros();

const P: u64 = 1 << 0;
const PS: u64 = 1 << 7;

// The low twelve flags need no translation; these three stand for all of them.
const _: () = assert!(PteBits::PRESENT.bits() as u64 == P && PteBits::HUGE.bits() as u64 == PS);
const _: () = assert!(PteBits::SOFT_DIRTY.bits() as u64 == 1 << 11);
const _: () = assert!(PteBits::all().bits() as u64 & !LOW == 3 << 12);
const _: () = assert!(SwapEntry::MAX_AREAS as u64 - 1 == AREA >> AREA_SHIFT);
const _: () = assert!(SwapEntry::MAX_PAGES - 1 == ADDR >> PAGE_SHIFT);

/// The x86-64 format, for 4 and 5 levels.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

/// The word for `bits`.
const fn pack(bits: PteBits) -> u64 {
    let b = bits.bits() as u64;
    let nx = b & PteBits::NO_EXEC.bits() as u64;
    let exclusive = b & PteBits::EXCLUSIVE.bits() as u64;
    (b & LOW) | (nx << NX_SHIFT) | (exclusive << EXCLUSIVE_SHIFT)
}

/// The flags of a word.
const fn unpack(raw: u64) -> PteBits {
    let high = ((raw & NX) >> NX_SHIFT) | ((raw & EXCLUSIVE) >> EXCLUSIVE_SHIFT);
    // Lossless: LOW and the two high flags lie below 2^14.
    PteBits::from_bits_truncate(((raw & LOW) | high) as u32)
}

/// The word of an entry that keeps a frame while the MMU must not use it.
const fn parked(kind: u64, addr: PhysAddr, bits: PteBits) -> u64 {
    kind | (addr.get() & ADDR) | (pack(bits) & !P)
}

impl PteCodec for X86_64 {
    const TABLE_BITS: PteBits = PteBits::PRESENT
        .union(PteBits::WRITE)
        .union(PteBits::USER)
        .union(PteBits::ACCESSED)
        .union(PteBits::DIRTY);

    #[inline]
    fn present(addr: PhysAddr, bits: PteBits) -> Pte {
        Pte::from_raw((addr.get() & ADDR) | pack(bits) | P)
    }

    #[inline]
    fn is_present(pte: Pte) -> bool {
        pte.raw() & P != 0
    }

    #[inline]
    fn is_huge(pte: Pte) -> bool {
        let raw = pte.raw();
        if raw & P != 0 { raw & PS != 0 } else { raw != 0 }
    }

    #[inline]
    fn addr(pte: Pte) -> PhysAddr {
        PhysAddr::truncate(pte.raw() & ADDR)
    }

    #[inline]
    fn bits(pte: Pte) -> PteBits {
        unpack(pte.raw())
    }

    #[inline]
    fn with_bits(pte: Pte, bits: PteBits) -> Pte {
        let kept = pte.raw() & (!FLAGS | P);
        Pte::from_raw(kept | (pack(bits) & !P))
    }

    #[inline]
    fn set(pte: Pte, bits: PteBits) -> Pte {
        Pte::from_raw(pte.raw() | (pack(bits) & !P))
    }

    #[inline]
    fn clear(pte: Pte, bits: PteBits) -> Pte {
        Pte::from_raw(pte.raw() & !(pack(bits) & !P))
    }

    #[inline]
    fn has(pte: Pte, bits: PteBits) -> bool {
        let bits = pack(bits);
        pte.raw() & bits == bits
    }

    #[inline]
    fn loses(old: Pte, new: Pte, bits: PteBits) -> bool {
        old.raw() & !new.raw() & pack(bits) != 0
    }

    #[inline]
    fn prot_none(pte: Pte) -> Pte {
        Pte::from_raw(pte.raw() & (ADDR | FLAGS) & !P | PROT_NONE)
    }

    #[inline]
    fn advance(pte: Pte, pages: u64) -> Pte {
        let raw = pte.raw();
        let addr = raw.wrapping_add(pages << PAGE_SHIFT) & ADDR;
        Pte::from_raw((raw & !ADDR) | addr)
    }

    #[inline]
    fn encode(view: PteView) -> Pte {
        let raw = match view {
            PteView::None => 0,
            PteView::Present { addr, bits } => return Self::present(addr, bits),
            PteView::ProtNone { addr, bits } => parked(PROT_NONE, addr, bits),
            PteView::Migration { addr, bits } => parked(MIGRATION, addr, bits),
            PteView::Swap { entry, bits } => {
                let place = (u64::from(entry.area()) << AREA_SHIFT) | (entry.offset() << PAGE_SHIFT);
                SWAP | place | (pack(bits) & !P)
            }
            PteView::Poisoned { pfn } => POISONED | pfn.addr().get(),
            PteView::Bad { raw } => raw,
        };
        Pte::from_raw(raw)
    }

    #[inline]
    fn view(pte: Pte) -> PteView {
        let raw = pte.raw();
        if raw & P != 0 {
            return if raw & !(ADDR | FLAGS) == 0 {
                PteView::Present { addr: Self::addr(pte), bits: unpack(raw) }
            } else {
                PteView::Bad { raw }
            };
        }
        view_parked(raw)
    }
}

/// What a word without the present bit says.
fn view_parked(raw: u64) -> PteView {
    let addr = PhysAddr::truncate(raw & ADDR);
    let bits = unpack(raw);
    let plain = raw & !(KIND | ADDR | FLAGS) == 0;
    match raw & KIND {
        0 if raw == 0 => PteView::None,
        SWAP if raw & !(KIND | ADDR | FLAGS | AREA) == 0 => {
            let area = ((raw & AREA) >> AREA_SHIFT) as u32;
            match SwapEntry::new(area, addr.pfn().get()) {
                Some(entry) => PteView::Swap { entry, bits },
                None => PteView::Bad { raw },
            }
        }
        MIGRATION if plain => PteView::Migration { addr, bits },
        PROT_NONE if plain => PteView::ProtNone { addr, bits },
        POISONED if raw & !(KIND | ADDR) == 0 => PteView::Poisoned { pfn: addr.pfn() },
        _ => PteView::Bad { raw },
    }
}
