//! The walker against hand-made tables: translation, rights, reserved bits, error codes, A and D.

use crate::tables::{A, D, DATA, G, NX, P, PS, RW, US, entry, machine, map, pa, set, va, word};
use mm::addr::VirtAddr;
use mm::port::{Level, Machine as _, Mmu};
use sim::{Fault, FaultCode, Machine};
use std::sync::atomic::Ordering;

const FULL: u64 = P | RW | US;

fn page_fault(va: VirtAddr, code: u32) -> Fault {
    Fault::Page { va, code: FaultCode::from_bits(code).unwrap() }
}

#[test]
fn every_leaf_size_translates() {
    for levels in 3..=5 {
        for (level, offset) in [(1, 0x8), (2, 0x1_2340), (3, 0x25_4320)] {
            let m = machine(levels, 1);
            let at = va((5 << 30) | (3 << 21) | (7 << 12));
            let base = if level == 3 { 0 } else { DATA };
            map(&m, level, at, base | FULL | if level > 1 { PS } else { 0 });
            let at = va((at.get() >> (12 + 9 * (level - 1)) << (12 + 9 * (level - 1))) + offset);
            word(&m, base + offset).store(77, Ordering::Relaxed);
            assert_eq!(m.user().load_u64(at), Ok(77), "{levels} levels, leaf {level}");
            m.user().store_u64(at, 78).unwrap();
            assert_eq!(word(&m, base + offset).load(Ordering::Relaxed), 78);
            assert_eq!(m.user().fetch(at), Ok(pa(base + offset)));
        }
    }
}

#[test]
fn accessed_and_dirty_are_set_where_used() {
    let m = machine(4, 1);
    let at = va(0x40_0000);
    map(&m, 1, at, DATA | FULL);
    m.user().load_u64(at).unwrap();
    assert!((1..=4).all(|l| entry(&m, l, at) & (A | D) == A));
    m.user().store_u64(at, 1).unwrap();
    assert_eq!(entry(&m, 1, at) & (A | D), A | D);
    assert!((2..=4).all(|l| entry(&m, l, at) & D == 0), "tables have no dirty bit");
}

#[test]
fn a_forbidden_access_leaves_the_leaf_alone() {
    let m = machine(4, 1);
    let at = va(0x40_0000);
    map(&m, 1, at, DATA | P | US);
    assert_eq!(m.user().store_u64(at, 1), Err(page_fault(at, 7)));
    assert_eq!(entry(&m, 1, at) & (A | D), 0);
    assert_eq!(word(&m, DATA).load(Ordering::Relaxed), 0);
}

#[test]
fn error_codes_are_those_of_the_manual() {
    let at = va(0x40_0000);
    // The leaf, then the code of a user load, store and fetch and of a supervisor store; None succeeds.
    let table = [
        (0, [Some(4), Some(6), Some(0x14), Some(2)]),
        (DATA | P | US, [None, Some(7), None, Some(3)]),
        (DATA | P | RW, [Some(5), Some(7), Some(0x15), None]),
        (DATA | FULL | NX, [None, None, Some(0x15), None]),
        (DATA | FULL | 1 << 46, [Some(0xd), Some(0xf), Some(0x1d), Some(0xb)]),
    ];
    for (leaf, codes) in table {
        let m = machine(4, 1);
        map(&m, 1, at, leaf);
        let (user, supervisor) = (m.user(), m.supervisor());
        let results = [
            user.load_u64(at).map(drop),
            user.store_u64(at, 0),
            user.fetch(at).map(drop),
            supervisor.store_u64(at, 0),
        ];
        let expected = codes.map(|code| code.map_or(Ok(()), |code| Err(page_fault(at, code))));
        assert_eq!(results, expected, "leaf {leaf:#x}");
    }
}

#[test]
fn rights_are_those_of_all_levels_together() {
    let at = va(0x40_0000);
    for level in 2..=4 {
        let m = machine(4, 1);
        map(&m, 1, at, DATA | FULL);
        let link = entry(&m, level, at);
        for (change, load, store, fetch) in [(!RW, None, Some(7), None), (!US, Some(5), Some(7), Some(0x15))]
        {
            set(&m, level, at, link & change);
            let fail = |code: Option<u32>| code.map_or(Ok(()), |code| Err(page_fault(at, code)));
            m.tlb_flush();
            assert_eq!(m.user().load_u64(at).map(drop), fail(load), "level {level}");
            assert_eq!(m.user().store_u64(at, 0), fail(store), "level {level}");
            assert_eq!(m.user().fetch(at).map(drop), fail(fetch), "level {level}");
        }
        set(&m, level, at, link | NX);
        m.tlb_flush();
        assert_eq!(m.user().fetch(at), Err(page_fault(at, 0x15)), "level {level}");
    }
}

trait Flush {
    fn tlb_flush(&self);
}

impl Flush for Machine {
    fn tlb_flush(&self) {
        mm::port::Tlb::flush_all(self.tlb());
    }
}

#[test]
fn reserved_bits_fault_at_every_level() {
    let at = va(0x40_0000);
    let wrong = [
        (5, PS),
        (4, PS),
        (5, 1 << 51),
        (4, 1 << 46),
        (3, 1 << 50),
        (2, 1 << 47),
        (2, PS | 1 << 13),
        (2, PS | 1 << 20),
        (3, PS | 1 << 13),
        (3, PS | 1 << 29),
    ];
    for (level, bits) in wrong {
        let m = machine(5, 1);
        map(&m, level, at, bits | FULL);
        assert_eq!(m.supervisor().load_u64(at), Err(page_fault(at, 9)), "level {level} bits {bits:#x}");
    }
    // PAT of a large leaf, and what the MMU ignores, are not reserved.
    for (level, bits) in [(2, PS | 1 << 12), (3, PS | 1 << 12), (1, PS), (2, PS | G | 0x7ff << 52 | 0xe00)] {
        let m = machine(5, 1);
        map(&m, level, at, bits | FULL);
        assert_eq!(m.supervisor().load_u64(at).map(drop), Ok(()), "level {level} bits {bits:#x}");
    }
}

#[test]
fn a_cpu_without_large_pages_reserves_their_bit() {
    let at = va(0x40_0000);
    let build = |leaf| Machine::builder().ram(0..0x40_0000).max_leaf(leaf).build();
    for (leaf, level, good) in [(Level::PMD, 3, false), (Level::PMD, 2, true), (Level::PTE, 2, false)] {
        let m = build(leaf);
        // SAFETY: this machine runs no code of its own.
        unsafe { m.mmu().activate(pa(crate::tables::table(4))) }
        map(&m, level, at, FULL | PS);
        assert_eq!(m.supervisor().load_u64(at).is_ok(), good, "largest leaf {leaf:?}, leaf at {level}");
    }
}

#[test]
fn addresses_must_be_canonical_for_the_levels() {
    for (levels, first_bad) in [(3, 1 << 38), (4, 1 << 47)] {
        let m = machine(levels, 1);
        let at = va(first_bad);
        assert_eq!(m.supervisor().load_u64(at), Err(Fault::NotCanonical { va: at }));
        let last = va(first_bad - 8);
        assert_eq!(m.supervisor().load_u64(last), Err(page_fault(last, 0)));
    }
}

#[test]
fn what_is_not_ram_is_reported() {
    let m = machine(4, 1);
    let at = va(0x40_0000);
    map(&m, 1, at, 0x80_0000 | FULL);
    assert_eq!(m.user().load_u64(at), Err(Fault::NotRam { pa: pa(0x80_0000) }));
    map(&m, 2, at, 0x90_0000 | FULL);
    m.tlb_flush();
    assert_eq!(m.user().load_u64(at), Err(Fault::NotRam { pa: pa(0x90_0000) }));
}
