//! The walker against the simulated MMU, on random tables that no code of `mm` has made.

use crate::map_fixture::{FAR, Rng, activate, level, load, machine, pa, store, va};
use mm::addr::{PhysAddr, VirtAddr};
use mm::pgtable::{PageTable, Walk, X86_64, walk_refs};
use mm::port::{Access, Level, Machine as _, PhysMem, PteBits, PteCodec};
use sim::{Fault, FaultCode, Machine};
use std::sync::atomic::{AtomicU64, Ordering};

/// The few indices that random tables use, so that random addresses meet something.
const INDICES: [u64; 6] = [0, 1, 255, 256, 510, 511];
/// Tables per level of a random tree.
const TABLES: u64 = 4;

fn frame(level: u32, n: u64) -> u64 {
    (u64::from(level) * TABLES + n + 1) << 12
}

fn word(m: &Machine, addr: u64) -> &AtomicU64 {
    let ptr = m.physmem().ptr(pa(addr)).unwrap();
    // SAFETY: an aligned word of RAM that lives as long as the machine and is shared by atomics only.
    unsafe { AtomicU64::from_ptr(ptr.as_ptr().cast()) }
}

/// A random entry for a table of `level`: all that hardware defines, and some that is wrong.
fn random_entry(rng: &mut Rng, level: u32) -> u64 {
    const PS: u64 = 0x80;
    let flags = rng.next() & 0x8000_0000_0000_0f7e;
    // Mostly generous, or hardly any access would succeed.
    let flags = if rng.next().is_multiple_of(3) { flags } else { flags & !(1 << 63) | 6 };
    let table = frame(level.saturating_sub(1), rng.next() % TABLES);
    let address = (FAR + (rng.next() % FAR)) & !0xfff;
    let aligned = address >> (12 + 9 * (level.min(3) - 1)) << (12 + 9 * (level.min(3) - 1));
    match rng.next() % 10 {
        0 => 0,
        1 => rng.next() & !1,
        2 if level > 1 => address | flags | PS | 1,
        3 | 4 if level > 1 => aligned | flags | PS | 1,
        _ if level > 1 => table | flags | 1,
        _ => address | flags | (rng.next() & PS) | 1,
    }
}

/// A tree of random tables; its root is table 0 of the root level.
fn random_tree(m: &Machine, rng: &mut Rng, levels: u32) {
    for level in 1..=levels {
        for n in 0..TABLES {
            for index in INDICES {
                word(m, frame(level, n) + index * 8).store(random_entry(rng, level), Ordering::Relaxed);
            }
        }
    }
}

fn random_va(rng: &mut Rng, levels: u32) -> VirtAddr {
    let mut addr = rng.next() & 0xff8;
    for level in 1..=levels {
        addr |= rng.pick(&INDICES) << (12 + 9 * (level - 1));
    }
    let unused = 64 - (12 + 9 * levels);
    let addr = ((addr << unused) as i64 >> unused) as u64;
    // One in sixteen is not canonical, unless all 57 bits are in use.
    let wrong = if levels < 5 && rng.next().is_multiple_of(16) { 1 << 55 } else { 0 };
    VirtAddr::truncate(addr ^ wrong)
}

/// What the MMU has to say to an access if the software walk is right.
fn expected(walk: Option<Walk<X86_64>>, va: VirtAddr, access: Access, user: bool) -> Result<PhysAddr, Fault> {
    let Some(walk) = walk else { return Err(Fault::NotCanonical { va }) };
    let mut code = FaultCode::empty();
    code.set(FaultCode::WRITE, access == Access::Write);
    code.set(FaultCode::FETCH, access == Access::Execute);
    code.set(FaultCode::USER, user);
    let (Some(target), Some(rights)) = (walk.translate(), walk.rights()) else {
        if X86_64::is_present(walk.last().unwrap().pte) {
            code |= FaultCode::PRESENT | FaultCode::RESERVED;
        }
        return Err(Fault::Page { va, code });
    };
    let kind = match access {
        Access::Read => true,
        Access::Write => rights.contains(PteBits::WRITE),
        Access::Execute => !rights.contains(PteBits::NO_EXEC),
    };
    if kind && (!user || rights.contains(PteBits::USER)) {
        Ok(target)
    } else {
        Err(Fault::Page { va, code: code | FaultCode::PRESENT })
    }
}

/// Compares walker and MMU on a random tree; gives how many accesses arrived somewhere.
fn compare(levels: u32, seed: u64) -> u32 {
    let m = machine(level(levels));
    let mut rng = Rng(seed);
    random_tree(&m, &mut rng, levels);
    // SAFETY: entries that are not leaves lead to tables of the next level, and nobody changes them.
    let tree = unsafe { PageTable::from_root(&m, pa(frame(levels, 0))) };
    activate(&m, tree);
    let mut arrived = 0;
    for _ in 0..200 {
        let va = random_va(&mut rng, levels);
        for (user, core) in [(false, m.supervisor()), (true, m.user())] {
            let seen = [load(core, va), store(core, va), core.fetch(va)];
            let accesses = [Access::Read, Access::Write, Access::Execute];
            for (seen, access) in seen.into_iter().zip(accesses) {
                let right = expected(tree.walk(va), va, access, user);
                assert_eq!(seen, right, "{levels} levels, seed {seed}, {va:?} {access:?} user {user}");
                arrived += u32::from(seen.is_ok());
            }
        }
    }
    arrived
}

#[test]
fn walker_and_mmu_agree_on_random_tables() {
    for levels in 3..=5 {
        let arrived: u32 = (0..60).map(|seed| compare(levels, seed)).sum();
        assert!(arrived > 3_000, "{levels} levels: only {arrived} accesses arrived, the test is too weak");
    }
}

#[test]
fn a_walk_sets_nothing() {
    let m = machine(Level::P4D);
    random_tree(&m, &mut Rng(7), 4);
    // SAFETY: as above.
    let tree = unsafe { PageTable::from_root(&m, pa(frame(4, 0))) };
    let image = |m: &Machine| -> Vec<u64> {
        (0..frame(5, 0)).step_by(8).map(|a| word(m, a).load(Ordering::Relaxed)).collect()
    };
    let before = image(&m);
    let mut rng = Rng(8);
    for _ in 0..1000 {
        let at = random_va(&mut rng, 4);
        let _ = (tree.walk(at), tree.translate(at), tree.view(at));
    }
    assert!(before == image(&m));
}

#[test]
fn levels_have_their_linux_names() {
    let names = |root: u32| (1..=root).rev().map(|n| level(n).name(level(root))).collect::<Vec<_>>();
    assert_eq!(names(3), ["PGD", "PMD", "PTE"]);
    assert_eq!(names(4), ["PGD", "PUD", "PMD", "PTE"]);
    assert_eq!(names(5), ["PGD", "P4D", "PUD", "PMD", "PTE"]);
}

#[test]
fn every_index_of_every_level_is_reached() {
    for n in 1..=5 {
        for index in 0..512_u64 {
            let addr = va(((index << (12 + 9 * (n - 1)) << 7) as i64 >> 7) as u64);
            assert_eq!(level(n).index(addr), index as usize);
            let others = (1..=5).filter(|&other| other != n).map(|other| level(other).index(addr));
            assert!(others.eq([0; 4]), "level {n} index {index}");
        }
    }
}

#[test]
fn two_dimensional_walks_cost_what_the_manual_says() {
    assert_eq!([walk_refs(4, 4), walk_refs(3, 3), walk_refs(2, 2), walk_refs(4, 0)], [24, 15, 8, 4]);
    assert_eq!([walk_refs(5, 5), walk_refs(3, 4), walk_refs(4, 3)], [35, 19, 19]);
    let m = machine(Level::P4D);
    // SAFETY: frame 0 is empty and stays so.
    let tree = unsafe { PageTable::from_root(&m, pa(0)) };
    let levels = [Level::PTE, Level::PMD, Level::PUD].map(|leaf| tree.walk_levels(leaf));
    assert_eq!(levels, [4, 3, 2]);
}
