//! Slabs whose free lists are plain, and what hardening changes: everything a user sees is the same.

use crate::board::MIB;
use crate::slab_fixture::{Flaky, GFP, at, board, config, frames, give, kfree, request, slabs};
use mm::phys::{AllocError, GfpFlags};
use mm::port::CpuId;
use mm::slab::{CacheRequest, ObjectError, OrderRules, SlabConfig, SlabFlags};
use std::ptr::NonNull;

/// Hardened or not.
fn setting(hardened: bool) -> SlabConfig {
    SlabConfig { hardened, randomize: false, ..config(1, 7) }
}

/// Every class has its objects all over its slabs, those behind the first frame included.
#[test]
fn objects_are_freed_by_their_address_alone() {
    for hardened in [false, true] {
        let board = board(64 * MIB, 1);
        let (slabs, frames) = (slabs(&board, &setting(hardened)), frames(&board));
        for size in [8, 16, 64, 96, 192, 256, 1024, 4096, 8192] {
            let objects: Vec<_> = (0..300).map(|_| slabs.kmalloc(&frames, size, GFP).unwrap()).collect();
            for object in &objects {
                // SAFETY: the object is the test's and has at least 8 bytes.
                unsafe { object.cast::<u64>().write(u64::MAX) };
            }
            for object in &objects {
                // SAFETY: the address is not used for anything but the refusal.
                let inside = unsafe { object.add(size / 2) };
                assert_eq!(kfree(&slabs, inside), Err(ObjectError::NotAtStart(at(inside))), "{size}");
            }
            for (n, object) in objects.iter().rev().enumerate() {
                kfree(&slabs, *object).unwrap();
                match kfree(&slabs, *object) {
                    Err(ObjectError::DoubleFree { .. }) => {}
                    // The last object of a slab may have taken it away.
                    Err(ObjectError::NotAnObject(_)) if n > 0 => {}
                    other => panic!("{size}: {other:?}"),
                }
            }
            slabs.verify().unwrap();
        }
        let classes = slabs.caches().filter(|cache| cache.flags().contains(SlabFlags::KMALLOC));
        assert!(classes.map(|cache| cache.stats().active_objects).all(|objects| objects == 0));
    }
}

/// The links of two free objects, one after the other, as they lie in memory.
fn word_of(object: NonNull<u8>, offset: u32) -> usize {
    // SAFETY: the object is free, nothing else uses the slab, and the link lies inside.
    unsafe { object.add(offset as usize).cast::<usize>().read() }
}

#[test]
fn links_are_hidden_in_hardened_caches_only() {
    for hardened in [false, true] {
        let board = board(64 * MIB, 1);
        let (slabs, frames) = (slabs(&board, &setting(hardened)), frames(&board));
        let wanted = CacheRequest { flags: SlabFlags::NO_MERGE, ..request("x", 64) };
        let cache = slabs.create(&wanted, &frames).unwrap();
        let [first, second, third] = [(); 3].map(|()| slabs.alloc(cache, &frames, GFP).unwrap());
        // The last one has no link yet: it is at hand.
        [first, second, third].into_iter().for_each(|object| give(&slabs, cache, object).unwrap());
        let link = cache.geometry().offset;
        // The middle is out of reach of a short overrun; the start shares its line with what the user wrote last.
        assert_eq!(link, if hardened { 32 } else { 0 });
        assert_eq!(word_of(second, link) == at(first), !hardened);
        for object in [third, second, first] {
            assert_eq!(slabs.alloc(cache, &frames, GFP).unwrap(), object);
        }
    }
}

/// An active slab that is empty stays: the next allocation comes from it.
#[test]
fn pairs_on_an_empty_cache_need_no_new_slab() {
    let board = board(64 * MIB, 1);
    let (slabs, frames) = (slabs(&board, &setting(false)), frames(&board));
    let cache = slabs.kmalloc_cache(512, GFP).unwrap();
    let before = cache.stats();
    for _ in 0..1000 {
        kfree(&slabs, slabs.kmalloc(&frames, 512, GFP).unwrap()).unwrap();
    }
    let after = cache.stats();
    assert_eq!((after.slow_allocs - before.slow_allocs, after.slabs), (1, 1));
    slabs.flush_cpu(cache);
    slabs.verify().unwrap();
    assert_eq!(slabs.shrink(cache) + cache.stats().slabs, 1);
}

/// Frees of an object that is at hand, and of the one before it, are found.
#[test]
fn what_is_at_hand_is_free() {
    let board = board(64 * MIB, 1);
    let (slabs, frames) = (slabs(&board, &setting(false)), frames(&board));
    for size in [64, 96] {
        let cache = slabs.kmalloc_cache(size, GFP).unwrap();
        let [a, b] = [(); 2].map(|()| slabs.alloc(cache, &frames, GFP).unwrap());
        give(&slabs, cache, a).unwrap();
        slabs.verify().unwrap();
        assert!(matches!(give(&slabs, cache, a), Err(ObjectError::DoubleFree { .. })));
        assert!(matches!(kfree(&slabs, a), Err(ObjectError::DoubleFree { .. })));
        give(&slabs, cache, b).unwrap();
        assert!(matches!(kfree(&slabs, a), Err(ObjectError::DoubleFree { .. })));
        slabs.verify().unwrap();
        assert_eq!(cache.stats().active_objects, 0);
        slabs.flush_cpu(cache);
        slabs.shrink(cache);
        assert_eq!(cache.stats().slabs, 0);
        slabs.verify().unwrap();
    }
}

/// A CPU keeps the slabs that it frees into, and gives them up when another one finds no memory.
#[test]
fn slabs_that_cpus_keep_serve_others_when_memory_is_short() {
    let board = board(64 * MIB, 2);
    let slabs =
        slabs(&board, &SlabConfig { rules: OrderRules { cpus: 2, ..config(2, 1).rules }, ..setting(false) });
    let cpus = mm::port::Machine::cpu(board.machine());
    let cache = slabs.kmalloc_cache(1024, GFP).unwrap();
    let objects: Vec<_> = cpus.run_on(CpuId(0), || {
        let objects: Vec<_> = (0..2000).map(|_| slabs.alloc(cache, &frames(&board), GFP).unwrap()).collect();
        objects.iter().step_by(2).for_each(|object| give(&slabs, cache, *object).unwrap());
        objects
    });
    // The owner's frees take no lock: the slabs are on no list of a node.
    assert_eq!(cache.stats().partial_slabs, 0);
    cpus.run_on(CpuId(1), || {
        let none = Flaky::new(&board, 0);
        assert_eq!(slabs.alloc(cache, &none, GfpFlags::GFP_ATOMIC).err(), Some(AllocError::OutOfMemory));
        let more: Vec<_> = (0..1000).map(|_| slabs.alloc(cache, &none, GFP).unwrap()).collect();
        assert_eq!(slabs.alloc(cache, &none, GFP).err(), Some(AllocError::OutOfMemory));
        more.into_iter().for_each(|object| give(&slabs, cache, object).unwrap());
        objects.iter().skip(1).step_by(2).for_each(|object| give(&slabs, cache, *object).unwrap());
    });
    slabs.verify().unwrap();
    assert_eq!(cache.stats().active_objects, 0);
}
