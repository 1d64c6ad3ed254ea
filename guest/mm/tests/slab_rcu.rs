//! Caches whose objects are looked at without a lock: their slabs stay for as long as somebody may.

use crate::slab_fixture::{GFP, at, board, config, frames, give, request, slabs};
use mm::port::{Cpu as _, CpuId, Machine as _};
use mm::slab::{CacheRequest, SlabConfig, SlabFlags};
use mm::sync::rcu::read_lock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;

const RCU: CacheRequest<'static> =
    CacheRequest { name: "typesafe", size: 128, align: 0, flags: SlabFlags::TYPESAFE_BY_RCU, ctor: None };

/// A reader on one CPU has found an object; another CPU frees it, and everything else, and gives all slabs back. The
/// memory is that of an object of the cache until the reader is done.
#[test]
fn t40c_a_slab_goes_when_no_reader_can_look_at_it_any_more() {
    for config in [config(2, 1), SlabConfig { debug: |_| SlabFlags::RED_ZONE, ..config(2, 1) }] {
        let board = board(32 << 20, 2);
        let (slabs, frames) = (slabs(&board, &config), frames(&board));
        let cache = slabs.create(&RCU, &frames).unwrap();
        let held: Vec<_> = (0..200).map(|_| slabs.alloc(cache, &frames, GFP).unwrap()).collect();
        let found = AtomicU64::new(at(held[50]) as u64);
        let (is_done, (reads, begun)) = (AtomicBool::new(false), channel());
        std::thread::scope(|scope| {
            let (board, is_done, found) = (&board, &is_done, &found);
            scope.spawn(move || {
                let cpu = board.machine().cpu();
                cpu.run_on(CpuId(1), || {
                    let section = read_lock(cpu);
                    assert_ne!(found.load(Ordering::Acquire), 0);
                    reads.send(()).unwrap();
                    // Long enough for the other CPU to get to the slab.
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    assert!(cache.stats().slabs > 0, "the slab is gone");
                    is_done.store(true, Ordering::Release);
                    drop(section);
                });
            });
            begun.recv().unwrap();
            found.store(0, Ordering::Release);
            held.iter().for_each(|object| give(&slabs, cache, *object).unwrap());
            slabs.flush_cpu(cache);
            slabs.shrink(cache);
            assert!(is_done.load(Ordering::Acquire), "nobody was waited for");
        });
        assert_eq!(cache.stats().slabs, 0);
        slabs.verify().unwrap();
    }
}

/// Where nobody can wait, slabs stay with their nodes, and go later.
#[test]
fn t40c_who_cannot_wait_keeps_the_slabs() {
    let board = board(32 << 20, 1);
    let (slabs, frames) = (slabs(&board, &config(1, 1)), frames(&board));
    let cache = slabs.create(&CacheRequest { flags: RCU.flags, ..request("kept", 128) }, &frames).unwrap();
    let held: Vec<_> = (0..2000).map(|_| slabs.alloc(cache, &frames, GFP).unwrap()).collect();
    let cpu = board.machine().cpu();
    let all = cache.stats().slabs;
    {
        let _masked = cpu.irq_guard();
        held.into_iter().for_each(|object| give(&slabs, cache, object).unwrap());
        slabs.flush_cpu(cache);
        assert_eq!(slabs.shrink(cache), 0);
        assert_eq!((cache.stats().slabs, cache.stats().active_objects), (all, 0));
        slabs.verify().unwrap();
    }
    assert_eq!(slabs.shrink(cache), all);
    assert_eq!(cache.stats().slabs, 0);
    slabs.verify().unwrap();
}
