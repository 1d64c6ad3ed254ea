//! Several CPUs at once: the MMU sets A and D while software changes entries, neighbours share tables.

use crate::map_fixture::{FAR, Rng, activate, machine, new_tree, pa, pool, range, va};
use mm::addr::{PAGE_SIZE, Pfn};
use mm::pgtable::{Rights, TableFrames, X86_64};
use mm::port::{CpuId, Level, Machine as _, PteBits, PteCodec, PteView};
use sim::{Machine, TablePool};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const RW: PteBits = PteBits::WRITE.union(PteBits::USER);
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Tells the other thread to stop, also when this one panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn neighbours_share_the_tables_they_race_to_make() {
    for seed in 0..20 {
        let m = machine(Level::PGD);
        let pool = pool(&m);
        let tree = new_tree(&m, &pool);
        thread::scope(|s| {
            for cpu in 0..4 {
                let (m, pool) = (&m, &pool);
                s.spawn(move || {
                    m.cpu().run_on(CpuId(cpu), || {
                        // Every fourth page, in an order of its own.
                        let mut pages: Vec<u64> = (0..1024).filter(|p| p % 4 == u64::from(cpu)).collect();
                        let mut rng = Rng(seed * 4 + u64::from(cpu));
                        pages.sort_by_cached_key(|_| rng.next());
                        for page in pages {
                            let (at, to) = (GIB - 2 * MIB + page * PAGE_SIZE, FAR + page * PAGE_SIZE);
                            tree.map(va(at), pa(to), Level::PTE, RW, pool).unwrap();
                        }
                    })
                });
            }
        });
        for page in 0..1024 {
            let at = va(GIB - 2 * MIB + page * PAGE_SIZE);
            assert_eq!(tree.translate(at), Some(pa(FAR + page * PAGE_SIZE)), "seed {seed}");
        }
        assert_eq!(pool.in_use(), 1 + 1 + 1 + 2 + 2, "tables of losers have gone back");
    }
}

/// A source of tables during whose allocation somebody else maps a page nearby.
struct Interrupted<'a> {
    pool: &'a TablePool<'a>,
    neighbour: &'a dyn Fn(),
    armed: AtomicBool,
}

// SAFETY: hands out what the pool hands out.
unsafe impl TableFrames for Interrupted<'_> {
    fn alloc_table(&self) -> Option<Pfn> {
        if self.armed.swap(false, Ordering::Relaxed) {
            (self.neighbour)();
        }
        self.pool.alloc_table()
    }

    unsafe fn free_table(&self, pfn: Pfn) {
        // SAFETY: the caller's promise, handed on.
        unsafe { self.pool.free_table(pfn) }
    }
}

#[test]
fn whoever_links_a_table_second_takes_the_first() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = new_tree(&m, &pool);
    let neighbour = || tree.map(va(GIB + PAGE_SIZE), pa(FAR), Level::PTE, RW, &pool).unwrap();
    let frames = Interrupted { pool: &pool, neighbour: &neighbour, armed: AtomicBool::new(true) };
    tree.map(va(GIB), pa(FAR + PAGE_SIZE), Level::PTE, RW, &frames).unwrap();
    assert_eq!(tree.translate(va(GIB)), Some(pa(FAR + PAGE_SIZE)));
    assert_eq!(tree.translate(va(GIB + PAGE_SIZE)), Some(pa(FAR)));
    assert_eq!(pool.in_use(), 4);
}

#[test]
fn what_the_mmu_sets_during_an_update_stays() {
    let data = 4 * MIB;
    let m = Machine::with_ram(8 * MIB);
    let pool = TablePool::new(&m, 1..64);
    let tree = new_tree(&m, &pool);
    tree.map(va(GIB), pa(data), Level::PTE, RW, &pool).unwrap();
    activate(&m, tree);
    let mut asked = 0;
    let mut gather = tree.gather(&pool);
    tree.update(range(GIB, 1), &mut gather, |_, _, view| {
        asked += 1;
        if asked == 1 {
            m.user().store_u64(va(GIB), 1).unwrap();
        }
        Rights::Of(PteBits::USER).apply(view)
    })
    .unwrap();
    gather.finish();
    let bits = PteBits::USER | PteBits::PRESENT | PteBits::ACCESSED | PteBits::DIRTY;
    assert_eq!((tree.view(va(GIB)), asked), (Some(PteView::Present { addr: pa(data), bits }), 2));
}

#[test]
fn a_write_during_an_unmap_is_seen() {
    let data = 4 * MIB;
    let m = Machine::builder().ram(0..8 * MIB).cpus(2).build();
    let pool = TablePool::new(&m, 1..64);
    let tree = new_tree(&m, &pool);
    activate(&m, tree);
    // A second view of the page tells what is in it; it also keeps the tables.
    let (page, view) = (va(GIB), va(GIB + PAGE_SIZE));
    tree.map(view, pa(data), Level::PTE, RW, &pool).unwrap();
    let done = AtomicBool::new(false);
    let mut last = 0;
    let mut writes = 0;
    thread::scope(|s| {
        s.spawn(|| {
            m.cpu().run_on(CpuId(1), || {
                let stored = |value| m.user().store_u64(page, value).is_ok();
                (1..).take_while(|_| !done.load(Ordering::Relaxed)).filter(|&value| stored(value)).count()
            })
        });
        let _stop = Stop(&done);
        // As often as needed for the CPUs to have met, however busy the host is.
        while writes < 200 {
            thread::yield_now();
            tree.map(page, pa(data), Level::PTE, RW, &pool).unwrap();
            let mut dirty = false;
            let mut gather = tree.gather(&pool);
            let see = |_, _, pte| dirty = X86_64::bits(pte).contains(PteBits::DIRTY);
            tree.unmap(range(GIB, 1), &mut gather, see).unwrap();
            gather.finish();
            let now = m.supervisor().load_u64(view).unwrap();
            assert!(dirty || now == last, "a write went unseen");
            writes += u64::from(now != last);
            last = now;
        }
    });
}

#[test]
fn a_write_during_a_split_is_seen() {
    const LEAVES: u64 = 256;
    let data = 4 * MIB;
    let m = Machine::builder().ram(0..data + LEAVES * 2 * MIB).cpus(2).build();
    let pool = TablePool::new(&m, 1..1024);
    let tree = new_tree(&m, &pool);
    tree.map_range(range(GIB, LEAVES * 512), pa(data), Level::PMD, RW, &pool).unwrap();
    activate(&m, tree);
    let page_of = |leaf: u64| va(GIB + leaf * 2 * MIB + (leaf * 7 % 512) * PAGE_SIZE);
    thread::scope(|s| {
        s.spawn(|| {
            m.cpu().run_on(CpuId(1), || {
                for leaf in 0..LEAVES {
                    m.user().store_u64(page_of(leaf), leaf).unwrap();
                }
            })
        });
        for leaf in 0..LEAVES {
            let mut gather = tree.gather(&pool);
            tree.split(page_of(leaf), Level::PTE, &mut gather).unwrap();
            gather.finish();
        }
    });
    for leaf in 0..LEAVES {
        let view = tree.view(page_of(leaf));
        let dirty = matches!(view, Some(PteView::Present { bits, .. }) if bits.contains(PteBits::DIRTY));
        assert!(dirty, "leaf {leaf}: {view:?}");
        assert_eq!(m.user().load_u64(page_of(leaf)), Ok(leaf));
    }
}

/// CPU 1 writes pages while CPU 0 writes back those that are dirty: clears D, flushes, then copies.
/// Gives how many pages differ from their copy when all has come to rest.
fn lost_writes(m: &Machine) -> usize {
    const PAGES: u64 = 64;
    let data = 4 * MIB;
    let pool = TablePool::new(m, 1..64);
    let tree = new_tree(m, &pool);
    tree.map_range(range(GIB, PAGES), pa(data), Level::PTE, RW, &pool).unwrap();
    activate(m, tree);
    let page = |n: u64| va(GIB + n * PAGE_SIZE);
    let mut copies = vec![0; PAGES as usize];
    let write_back = |copies: &mut Vec<u64>| {
        let mut dirty = Vec::new();
        let mut gather = tree.gather(&pool);
        tree.update(range(GIB, PAGES), &mut gather, |at, _, view| match view {
            PteView::Present { addr, bits } if bits.contains(PteBits::DIRTY) => {
                dirty.push(((at.get() - GIB) / PAGE_SIZE) as usize);
                PteView::Present { addr, bits: bits - PteBits::DIRTY }
            }
            other => other,
        })
        .unwrap();
        gather.finish();
        for n in dirty {
            copies[n] = m.supervisor().load_u64(page(n as u64)).unwrap();
        }
    };
    let done = AtomicBool::new(false);
    let passes = AtomicU64::new(0);
    thread::scope(|s| {
        s.spawn(|| {
            m.cpu().run_on(CpuId(1), || {
                let _stop = Stop(&done);
                let mut rng = Rng(1);
                let mut store = |value| m.user().store_u64(page(rng.next() % PAGES), value).unwrap();
                // Writes before, between and after passes of write-back, however busy the host is.
                (1..).take_while(|_| passes.load(Ordering::Acquire) < 50).for_each(&mut store);
                (u64::MAX / 2..).take(1000).for_each(&mut store);
            })
        });
        while !done.load(Ordering::Acquire) {
            write_back(&mut copies);
            passes.fetch_add(1, Ordering::Release);
            thread::yield_now();
        }
    });
    write_back(&mut copies);
    let now = (0..PAGES).map(|n| m.supervisor().load_u64(page(n)).unwrap());
    now.zip(&copies).filter(|(now, copy)| now != *copy).count()
}

#[test]
fn no_write_is_lost_to_write_back() {
    let build = || Machine::builder().ram(0..8 * MIB).cpus(2).build();
    assert_eq!(lost_writes(&build()), 0);
    // A busy host may let the two run one after the other.
    let loses = |_| {
        let broken = build();
        broken.tlb().break_flushes();
        lost_writes(&broken) > 0
    };
    assert!((0..50).any(loses), "without flushes writes must get lost, or the test sees nothing");
}

#[test]
fn rights_flip_under_a_running_reader() {
    let data = 4 * MIB;
    let m = Machine::builder().ram(0..8 * MIB).cpus(2).build();
    let pool = TablePool::new(&m, 1..64);
    let tree = new_tree(&m, &pool);
    tree.map_range(range(GIB, 512), pa(data), Level::PMD, RW, &pool).unwrap();
    activate(&m, tree);
    // Odd while writes are forbidden for certain.
    let phase = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            m.cpu().run_on(CpuId(1), || {
                let mut rng = Rng(2);
                while !done.load(Ordering::Acquire) {
                    let at = va(GIB + rng.next() % 512 * PAGE_SIZE);
                    let before = phase.load(Ordering::SeqCst);
                    let stored = m.user().store_u64(at, 1).is_ok();
                    let after = phase.load(Ordering::SeqCst);
                    assert!(
                        !(stored && before == after && before % 2 == 1),
                        "a store got through while writes were forbidden"
                    );
                }
            })
        });
        let _stop = Stop(&done);
        for turn in 0..500 {
            let allow = turn % 2 == 1;
            if allow {
                phase.fetch_add(1, Ordering::SeqCst);
            }
            let rights = if allow { RW } else { PteBits::USER };
            let mut gather = tree.gather(&pool);
            tree.protect(range(GIB + MIB, 256), Rights::Of(rights), &mut gather).unwrap();
            tree.protect(range(GIB, 256), Rights::Of(rights), &mut gather).unwrap();
            gather.finish();
            if !allow {
                phase.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        }
    });
}
