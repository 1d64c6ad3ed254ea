//! Slabs against an oracle: a map of what is allocated and what was written into it.
//!
//! CPUs take turns as a seed decides, so a run repeats. Every object holds a pattern of its own from its allocation to
//! its free, so two owners of one byte are seen; the oracle knows every object, so a lost or doubled one is seen.
//! Frames run out as the seed decides. After every run the invariants are checked, everything is freed, and not a page
//! is missing.

use crate::board::MIB;
use crate::slab_fixture::{Flaky, GFP, at, board, config, kfree, slabs};
use mm::port::{CpuId, Machine as _};
use mm::slab::{CacheRequest, SlabConfig, SlabFlags, Slabs};
use proptest::prelude::*;
use sim::Machine;
use std::collections::BTreeMap;
use std::ptr::NonNull;

const CPUS: u32 = 3;

/// One step of a run.
#[derive(Clone, Debug)]
enum Op {
    /// Allocates by size.
    Kmalloc(u32, usize),
    /// Allocates from named cache.
    Alloc(u32, usize),
    /// Frees one of those held, on a CPU.
    Free(u32, usize),
    /// Frees many of those held, on a CPU.
    FreeMany(u32, usize),
    Flush(u32, usize),
    Shrink(usize),
    /// So many blocks of frames are left from now on.
    Frames(u64),
    Verify,
}

fn op() -> impl Strategy<Value = Op> {
    let cpu = 0..CPUS;
    let size = prop_oneof![8 => 1_usize..300, 2 => 300_usize..9000, 1 => 9000_usize..40_000];
    prop_oneof![
        10 => (cpu.clone(), size).prop_map(|(cpu, size)| Op::Kmalloc(cpu, size)),
        10 => (cpu.clone(), 0..CACHES.len()).prop_map(|(cpu, n)| Op::Alloc(cpu, n)),
        14 => (cpu.clone(), any::<usize>()).prop_map(|(cpu, n)| Op::Free(cpu, n)),
        2 => (cpu.clone(), any::<usize>()).prop_map(|(cpu, n)| Op::FreeMany(cpu, n)),
        1 => (cpu, 0..CACHES.len()).prop_map(|(cpu, n)| Op::Flush(cpu, n)),
        1 => (0..CACHES.len()).prop_map(Op::Shrink),
        1 => prop_oneof![0_u64..4, Just(1000)].prop_map(Op::Frames),
        1 => Just(Op::Verify),
    ]
}

/// Names, sizes, alignments, and whether objects are constructed. Few objects a slab, so that slabs fill and empty.
const CACHES: [(&str, u32, u32, bool); 4] =
    [("one", 3000, 0, false), ("two", 1300, 64, true), ("three", 700, 0, false), ("four", 24, 0, true)];

fn construct(object: NonNull<u8>) {
    // SAFETY: every constructed cache here has objects of at least that many bytes.
    unsafe { object.write_bytes(0x77, 8) }
}

struct Held {
    bytes: usize,
    tag: u8,
    /// The first bytes are the constructor's.
    made: bool,
    /// Its cache; `kmalloc` without.
    cache: Option<usize>,
}

struct Oracle<'a, 'b> {
    slabs: &'a Slabs<'b, Machine>,
    held: BTreeMap<usize, (NonNull<u8>, Held)>,
    tags: u8,
}

impl Oracle<'_, '_> {
    fn take(&mut self, object: NonNull<u8>, mut held: Held) {
        let (start, end) = (at(object), at(object) + held.bytes);
        let below = self.held.range(..end).next_back();
        if let Some((other, (_, held))) = below {
            assert!(other + held.bytes <= start, "{start:#x} overlaps {other:#x}");
        }
        self.tags = self.tags.wrapping_add(1);
        held.tag = self.tags;
        let skip = if held.made { 8 } else { 0 };
        // SAFETY: the object was just allocated with that many bytes.
        unsafe {
            if held.made {
                assert_eq!(object.cast::<u64>().read_unaligned(), 0x7777_7777_7777_7777);
            }
            object.add(skip).write_bytes(held.tag, held.bytes - skip);
        }
        self.held.insert(start, (object, held));
    }

    fn give(&mut self, n: usize) {
        let Some(key) = self.held.keys().nth(n % self.held.len().max(1)).copied() else { return };
        let (object, held) = self.held.remove(&key).unwrap();
        let skip = if held.made { 8 } else { 0 };
        // SAFETY: the object is ours until it is freed below.
        let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr().add(skip), held.bytes - skip) };
        assert!(bytes.iter().all(|byte| *byte == held.tag), "{key:#x} was written by somebody else");
        match held.cache {
            None => kfree(self.slabs, object).unwrap(),
            Some(n) => {
                let cache = self.slabs.find(CACHES[n].0).unwrap();
                crate::slab_fixture::give(self.slabs, cache, object).unwrap();
            }
        }
    }
}

fn run(config: &SlabConfig, ops: &[Op]) {
    let board = board(16 * MIB, CPUS);
    let slabs = slabs(&board, config);
    let frames = Flaky::new(&board, 1000);
    for (name, size, align, made) in CACHES {
        let ctor = made.then_some(construct as fn(NonNull<u8>));
        let request = CacheRequest { name, size, align, flags: SlabFlags::NO_MERGE, ctor };
        slabs.create(&request, &frames).unwrap();
    }
    let mut oracle = Oracle { slabs: &slabs, held: BTreeMap::new(), tags: 0 };
    let free = board.total_free_pages();
    let cpus = board.machine().cpu();
    let cache = |n: usize| slabs.find(CACHES[n].0).unwrap();
    for op in ops {
        match *op {
            Op::Kmalloc(cpu, bytes) => cpus.run_on(CpuId(cpu), || {
                if let Ok(object) = slabs.kmalloc(&frames, bytes, GFP) {
                    oracle.take(object, Held { bytes, tag: 0, made: false, cache: None });
                }
            }),
            Op::Alloc(cpu, n) => cpus.run_on(CpuId(cpu), || {
                let (_, size, _, made) = CACHES[n];
                if let Ok(object) = slabs.alloc(cache(n), &frames, GFP) {
                    oracle.take(object, Held { bytes: size as usize, tag: 0, made, cache: Some(n) });
                }
            }),
            Op::Free(cpu, n) => cpus.run_on(CpuId(cpu), || oracle.give(n)),
            Op::FreeMany(cpu, n) => {
                cpus.run_on(CpuId(cpu), || (0..20).for_each(|k| oracle.give(n.wrapping_add(k))))
            }
            Op::Flush(cpu, n) => cpus.run_on(CpuId(cpu), || slabs.flush_cpu(cache(n))),
            Op::Shrink(n) => _ = slabs.shrink(cache(n)),
            Op::Frames(left) => frames.left.set(left),
            Op::Verify => _ = slabs.verify().unwrap(),
        }
    }
    slabs.verify().unwrap();
    while !oracle.held.is_empty() {
        oracle.give(0);
    }
    slabs.verify().unwrap();
    for cpu in 0..CPUS {
        cpus.run_on(CpuId(cpu), || slabs.caches().for_each(|cache| slabs.flush_cpu(cache)));
    }
    for cache in slabs.caches() {
        slabs.shrink(cache);
    }
    slabs.verify().unwrap();
    // The slab of the caches themselves may have been taken and given back.
    assert!(board.total_free_pages() >= free);
    assert!(crate::slab_fixture::reports().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn slabs_agree_with_the_oracle(ops in prop::collection::vec(op(), 1..400), seed in any::<u64>()) {
        let (hardened, randomize, reuse) = (seed & 1 == 0, seed & 2 == 0, seed & 12 != 0);
        run(&SlabConfig { hardened, randomize, reuse, ..config(CPUS, seed) }, &ops);
    }

    #[test]
    fn checked_slabs_agree_with_the_oracle(ops in prop::collection::vec(op(), 1..200), bits in 0_u32..16) {
        let flags = [|_: &str| SlabFlags::CONSISTENCY_CHECKS.union(SlabFlags::STORE_USER), |_: &str| SlabFlags::DEBUG.difference(SlabFlags::TRACE)];
        let config = SlabConfig {
            debug: flags[bits as usize & 1],
            init_on_alloc: bits & 2 != 0,
            init_on_free: bits & 4 != 0,
            randomize: bits & 8 != 0,
            ..config(CPUS, 5)
        };
        run(&config, &ops);
    }
}

/// Three CPUs at once, each handing its objects to the next: what a schedule one step at a time does not show.
#[test]
fn t41c_cpus_at_once_lose_nothing() {
    let board = board(64 * MIB, CPUS);
    let slabs = slabs(&board, &config(CPUS, 9));
    let cache = slabs
        .create(
            &CacheRequest { name: "x", size: 500, align: 0, flags: SlabFlags::NO_MERGE, ctor: None },
            &crate::slab_fixture::frames(&board),
        )
        .unwrap();
    struct Parcel(Vec<NonNull<u8>>);
    // SAFETY: objects go from one owner to the next.
    unsafe impl Send for Parcel {}
    let channels: Vec<_> = (0..CPUS).map(|_| std::sync::mpsc::channel::<Parcel>()).collect();
    let (senders, receivers): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
    std::thread::scope(|scope| {
        for (cpu, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(cpu + 1) % CPUS as usize].clone();
            let (slabs, board) = (&slabs, &board);
            scope.spawn(move || {
                board.machine().cpu().run_on(CpuId(cpu as u32), || {
                    let frames = crate::slab_fixture::frames(board);
                    for round in 0..300_usize {
                        let count = 1 + (round * 7 + cpu) % 60;
                        let parcel: Vec<_> =
                            (0..count).map(|_| slabs.alloc(cache, &frames, GFP).unwrap()).collect();
                        for object in &parcel {
                            // SAFETY: the object is ours and has 500 bytes.
                            unsafe { object.write_bytes(cpu as u8 + 1, 500) }
                        }
                        next.send(Parcel(parcel)).unwrap();
                        let Parcel(parcel) = receiver.recv().unwrap();
                        let from = (cpu + CPUS as usize - 1) % CPUS as usize;
                        for object in parcel {
                            // SAFETY: the object is ours now.
                            let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), 500) };
                            assert!(bytes.iter().all(|byte| *byte == from as u8 + 1));
                            crate::slab_fixture::give(slabs, cache, object).unwrap();
                        }
                    }
                });
            });
        }
        drop(senders);
    });
    assert_eq!(cache.stats().active_objects, 0);
    slabs.verify().unwrap();
}
