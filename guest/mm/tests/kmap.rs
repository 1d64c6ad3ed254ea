//! Temporary mappings of frames outside the direct map, through the simulated MMU.

use crate::map_fixture::{Rng, activate, new_tree, range, va};
use mm::addr::{Pfn, VirtAddr};
use mm::kmap::{Kmap, KmapError, LOCAL_SLOTS, PAGES, POOL_SLOTS};
use mm::pgtable::Why;
use mm::port::{CpuId, Machine as _, PhysMem, PteBits};
use proptest::prelude::*;
use sim::{Fault, Machine, TablePool};
use std::collections::BTreeMap;

const WINDOWS: u64 = 0xffff_ffff_fe00_0000;
/// Frames 0 to 63 are for tables; from here on they are not in the direct map.
const HIGH: u64 = 64;
const FRAMES: u64 = 2048;

fn high(n: u64) -> Pfn {
    Pfn::new(HIGH + n).unwrap()
}

fn machine() -> Machine {
    Machine::builder().ram(0..FRAMES << 12).direct_end(HIGH << 12).cpus(4).build()
}

/// Windows in a tree that is active on every CPU; each high frame holds its number.
fn with_windows(test: impl FnOnce(&Machine, &Kmap<'_, Machine>)) {
    let m = machine();
    let pool = TablePool::new(&m, 1..HIGH);
    let tree = new_tree(&m, &pool);
    activate(&m, tree);
    let kmap = Kmap::new(&m);
    assert_eq!(kmap.map_local(high(0)), Err(KmapError::NotReady));
    assert_eq!(kmap.map(high(0)), Err(KmapError::NotReady));
    // SAFETY: nobody else knows the tree.
    unsafe { kmap.boot(tree, range(WINDOWS, PAGES), PteBits::WRITE | PteBits::NO_EXEC, &pool) }.unwrap();
    let tables = pool.in_use();
    for n in 0..FRAMES - HIGH {
        let at = kmap.map_local(high(n)).unwrap();
        m.supervisor().store_u64(at, n).unwrap();
        kmap.unmap_local(at).unwrap();
    }
    test(&m, &kmap);
    assert_eq!(pool.in_use(), tables, "mapping makes and frees no tables");
}

fn look(m: &Machine, at: VirtAddr) -> Result<u64, Fault> {
    m.supervisor().load_u64(at)
}

#[test]
fn high_frames_are_reached_through_windows_only() {
    with_windows(|m, kmap| {
        assert!(m.physmem().ptr(high(0).addr()).is_none());
        assert!(m.physmem().ptr(Pfn::new(HIGH - 1).unwrap().addr()).is_some());
        let at = kmap.map_local(high(7)).unwrap();
        assert_eq!(look(m, at), Ok(7));
        let same = kmap.map(high(7)).unwrap();
        m.supervisor().store_u64(same, 70).unwrap();
        assert_eq!(look(m, at), Ok(70), "two mappings, one frame");
        kmap.unmap_local(va(at.get() + 4095)).unwrap();
        assert!(matches!(look(m, at), Err(Fault::Page { .. })), "unmapped at once");
        assert!(m.supervisor().fetch(same).is_err());
    });
}

#[test]
fn local_mappings_nest_to_their_limit_and_go_in_reverse() {
    with_windows(|m, kmap| {
        let made: Vec<_> = (0..LOCAL_SLOTS as u64).map(|n| kmap.map_local(high(n)).unwrap()).collect();
        assert_eq!(kmap.map_local(high(99)), Err(KmapError::OutOfSlots));
        assert_eq!(KmapError::OutOfSlots.to_string(), "kmap_local: out of slots (16)");
        assert_eq!(kmap.locals_of(CpuId(0)), LOCAL_SLOTS);
        for (n, at) in made.iter().enumerate() {
            assert_eq!(look(m, *at), Ok(n as u64));
        }
        let (first, last) = (made[0], made[LOCAL_SLOTS - 1]);
        assert_eq!(kmap.unmap_local(first), Err(KmapError::OutOfOrder { at: first, last }));
        assert_eq!(look(m, first), Ok(0), "nothing has changed");
        // Another CPU has slots of its own, and cannot unmap these.
        m.cpu().run_on(CpuId(1), || {
            assert_eq!(kmap.unmap_local(last), Err(KmapError::NotMapped(last)));
            let at = kmap.map_local(high(200)).unwrap();
            assert_eq!(look(m, at), Ok(200));
            assert_eq!(kmap.unmap_local(last), Err(KmapError::NotMapped(last)));
            kmap.unmap_local(at).unwrap();
        });
        for at in made.iter().rev() {
            kmap.unmap_local(*at).unwrap();
            assert_eq!(kmap.unmap_local(*at), Err(KmapError::NotMapped(*at)), "twice");
        }
        assert_eq!(kmap.unmap_local(va(0x1000)), Err(KmapError::NotMapped(va(0x1000))));
        assert_eq!(kmap.locals_of(CpuId(0)), 0);
    });
}

#[test]
fn the_pool_counts_users_and_reuses_pages_after_a_flush() {
    with_windows(|m, kmap| {
        let first = kmap.map(high(0)).unwrap();
        assert_eq!(kmap.map(high(0)).unwrap(), first);
        assert_eq!(kmap.unmap(first), Ok(false));
        assert_eq!(kmap.pool_in_use(), 1);
        let made: Vec<_> = (1..POOL_SLOTS as u64).map(|n| kmap.map(high(n)).unwrap()).collect();
        assert_eq!(kmap.map(high(900)), Err(KmapError::PoolFull));
        assert_eq!(kmap.unmap(first), Ok(true));
        assert_eq!(kmap.unmap(first), Err(KmapError::NotMapped(first)));
        // CPU 2 has the old translation cached; the page is used again only after a flush.
        assert_eq!(m.cpu().run_on(CpuId(2), || look(m, made[3])), Ok(4));
        assert_eq!(kmap.unmap(made[3]), Ok(true));
        let flushes = m.tlb().stats().flushes;
        let again = kmap.map(high(901)).unwrap();
        assert!(again == first || again == made[3]);
        let other = kmap.map(high(902)).unwrap();
        assert!((other == first || other == made[3]) && other != again);
        assert_eq!(m.tlb().stats().flushes, flushes + 1, "one flush made both free");
        let seen = m.cpu().run_on(CpuId(2), || look(m, made[3]));
        assert_eq!(seen, Ok(if again == made[3] { 901 } else { 902 }));
        assert_eq!(kmap.map(high(903)), Err(KmapError::PoolFull));
        kmap.unmap(made[9]).unwrap();
        kmap.flush();
        assert!(matches!(look(m, made[9]), Err(Fault::Page { .. })));
        assert_eq!(kmap.unmap(va(WINDOWS)), Err(KmapError::NotMapped(va(WINDOWS))), "a local page");
    });
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let m = machine();
    let pool = TablePool::new(&m, 1..HIGH);
    let tree = new_tree(&m, &pool);
    let kmap = Kmap::new(&m);
    // SAFETY: nobody else knows the tree.
    let boot = |pages| unsafe { kmap.boot(tree, range(WINDOWS, pages), PteBits::WRITE, &pool) };
    assert_eq!(boot(PAGES - 1).unwrap_err().why, Why::Invalid);
    pool.fail_after(2);
    assert_eq!(boot(PAGES).unwrap_err().why, Why::NoFrames);
    pool.fail_after(u64::MAX);
    boot(PAGES).unwrap();
    assert!(kmap.map(high(1)).is_ok());
}

#[test]
fn cpus_share_the_pool() {
    with_windows(|m, kmap| {
        std::thread::scope(|scope| {
            for cpu in 0..4 {
                scope.spawn(move || {
                    m.cpu().run_on(CpuId(cpu), || {
                        let mut rng = Rng(u64::from(cpu) + 1);
                        for _ in 0..3000 {
                            let n = rng.next() % 700 + 1000;
                            let shared = kmap.map(high(n)).unwrap();
                            let own = kmap.map_local(high(n)).unwrap();
                            assert_eq!((look(m, shared), look(m, own)), (Ok(n), Ok(n)));
                            kmap.unmap_local(own).unwrap();
                            kmap.unmap(shared).unwrap();
                        }
                    });
                });
            }
        });
        assert_eq!(kmap.pool_in_use(), 0);
        assert!((0..4).all(|cpu| kmap.locals_of(CpuId(cpu)) == 0));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The pool against a map from frame to address and users.
    #[test]
    fn the_pool_is_what_the_model_says(ops in prop::collection::vec((0..600_u64, any::<bool>(), 0..4_u32), 1..2000)) {
        with_windows(|m, kmap| {
            let mut users: BTreeMap<u64, (VirtAddr, u32)> = BTreeMap::new();
            for (n, map, cpu) in ops {
                if map {
                    match (kmap.map(high(n)), users.len() == POOL_SLOTS && !users.contains_key(&n)) {
                        (Ok(at), false) => {
                            let known = users.entry(n).or_insert((at, 0));
                            assert_eq!(known.0, at);
                            known.1 += 1;
                        }
                        (result, full) => assert_eq!((result, full), (Err(KmapError::PoolFull), true)),
                    }
                } else if let Some((at, count)) = users.get_mut(&n) {
                    *count -= 1;
                    assert_eq!(kmap.unmap(*at), Ok(*count == 0));
                    if *count == 0 {
                        users.remove(&n);
                    }
                }
                if let Some((at, _)) = users.get(&n) {
                    assert_eq!(m.cpu().run_on(CpuId(cpu), || look(m, *at)), Ok(n));
                }
                assert_eq!(kmap.pool_in_use(), users.len());
            }
        });
    }
}
