//! Changing what is mapped: rights, splitting, parking, and what needs a flush.

use crate::map_fixture::{FAR, activate, load, machine, new_tree, pa, pool, range, store, va};
use mm::addr::{PAGE_SIZE, VirtAddr};
use mm::pgtable::{Leaves, PageTable, Rights, Why, X86_64};
use mm::port::{Level, Machine as _, Pte, PteBits, PteCodec, PteView, SwapEntry};
use sim::{Fault, FaultCode, Machine, TablePool};

const RW: PteBits = PteBits::WRITE.union(PteBits::USER);
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// What the MMU may set.
const AD: PteBits = PteBits::ACCESSED.union(PteBits::DIRTY);

/// A fresh tree, active, with `pages` pages from `start` mapped to FAR by leaves of up to `leaf`.
fn mapped<'m>(
    m: &'m Machine,
    pool: &TablePool<'_>,
    start: u64,
    pages: u64,
    leaf: Level,
) -> PageTable<'m, Machine> {
    let tree = new_tree(m, pool);
    tree.map_range(range(start, pages), pa(FAR), leaf, RW, pool).unwrap();
    activate(m, tree);
    tree
}

fn bits(tree: PageTable<'_, Machine>, at: u64) -> PteBits {
    match tree.view(va(at)) {
        Some(PteView::Present { bits, .. }) => bits,
        other => panic!("{at:#x}: {other:?}"),
    }
}

#[test]
fn a_split_keeps_rights_and_what_the_mmu_has_set() {
    for touched in [PteBits::empty(), PteBits::ACCESSED, AD] {
        let m = machine(Level::P4D);
        let pool = pool(&m);
        let tree = mapped(&m, &pool, GIB, Level::PUD.pages(), Level::PUD);
        match touched {
            AD => _ = store(m.user(), va(GIB)).unwrap(),
            PteBits::ACCESSED => _ = load(m.user(), va(GIB)).unwrap(),
            _ => {}
        }
        let probe = GIB + 77 * MIB + 5 * PAGE_SIZE;
        let mut gather = tree.gather(&pool);
        tree.split(va(probe), Level::PTE, &mut gather).unwrap();
        let flushed = gather.finish();
        assert_eq!(*flushed.splits(), Leaves { pte: 0, pmd: 1, pud: 1 });
        let leaves = tree.census(range(GIB, Level::PUD.pages())).unwrap().leaves;
        assert_eq!(leaves, Leaves { pte: 512, pmd: 511, pud: 0 });
        for (at, huge) in [(probe, false), (probe ^ MIB, false), (GIB, true), (2 * GIB - 8, true)] {
            let mut expected = RW | PteBits::PRESENT | touched;
            expected.set(PteBits::HUGE, huge);
            assert_eq!(bits(tree, at), expected, "{at:#x}");
            assert_eq!(tree.translate(va(at)), Some(pa(FAR + at - GIB)));
            assert_eq!(load(m.user(), va(at & !7)), Ok(pa(FAR + (at & !7) - GIB)));
        }
    }
}

#[test]
fn splitting_what_is_small_or_absent_does_nothing() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = mapped(&m, &pool, GIB, 1, Level::PTE);
    let in_use = pool.in_use();
    let mut gather = tree.gather(&pool);
    for at in [GIB, GIB + PAGE_SIZE, 8 * GIB] {
        tree.split(va(at), Level::PTE, &mut gather).unwrap();
    }
    assert_eq!(tree.split(va(1 << 47), Level::PTE, &mut gather).unwrap_err().why, Why::Invalid);
    assert_eq!(*gather.finish().splits(), Leaves::default());
    assert_eq!(pool.in_use(), in_use);
}

#[test]
fn a_split_without_a_frame_changes_nothing() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = mapped(&m, &pool, GIB, 1024, Level::PMD);
    pool.fail_after(0);
    let mut gather = tree.gather(&pool);
    let stopped = tree.unmap(range(GIB + PAGE_SIZE, 600), &mut gather, |_, _, _| ()).unwrap_err();
    assert_eq!((stopped.at, stopped.why), (va(GIB + PAGE_SIZE), Why::NoFrames));
    gather.finish();
    assert_eq!(tree.census(range(GIB, 1024)).unwrap().leaves, Leaves { pte: 0, pmd: 2, pud: 0 });
}

#[test]
fn parked_large_leaves_split_alike() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let entry = |offset| SwapEntry::new(3, offset).unwrap();
    let soft = PteBits::SOFT_DIRTY | PteBits::EXCLUSIVE;
    let parked = RW | PteBits::ACCESSED | PteBits::NO_EXEC;
    type At = Box<dyn Fn(u64, PteBits) -> PteView>;
    let kinds: [At; 4] = [
        Box::new(move |page, huge| PteView::Swap { entry: entry(1024 + page), bits: soft | huge }),
        Box::new(move |page, huge| PteView::ProtNone { addr: pa(FAR + page * 4096), bits: parked | huge }),
        Box::new(move |page, huge| PteView::Migration { addr: pa(FAR + page * 4096), bits: parked | huge }),
        Box::new(move |page, _| PteView::Poisoned { pfn: pa(FAR + page * 4096).pfn() }),
    ];
    for kind in kinds {
        let tree = mapped(&m, &pool, GIB, 512, Level::PMD);
        let all = range(GIB, 512);
        let mut gather = tree.gather(&pool);
        tree.update(all, &mut gather, |_, _, _| kind(0, PteBits::empty())).unwrap();
        assert_eq!(tree.view(va(GIB + MIB)), Some(kind(0, PteBits::HUGE)));
        tree.split(va(GIB), Level::PTE, &mut gather).unwrap();
        gather.finish();
        for page in 0..512 {
            assert_eq!(tree.view(va(GIB + page * 4096)), Some(kind(page, PteBits::empty())));
        }
        assert_eq!(tree.census(all).unwrap().parked, 512);
        let mut gather = tree.gather(&pool);
        tree.update(range(GIB, 1), &mut gather, |_, _, _| kind(0, PteBits::HUGE)).unwrap();
        gather.finish();
        assert_eq!(tree.view(va(GIB)), Some(kind(0, PteBits::empty())), "small leaves are not huge");
    }
}

#[test]
fn an_entry_that_cannot_be_is_reported() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = mapped(&m, &pool, GIB, 512, Level::PMD);
    let raw = 7 << 52 | 0x80;
    let slot = tree.lookup(va(GIB)).unwrap().slot;
    slot.set(Pte::from_raw(raw));
    assert_eq!(tree.view(va(GIB)), Some(PteView::Bad { raw }));
    let in_use = pool.in_use();
    let mut gather = tree.gather(&pool);
    let half = tree.unmap(range(GIB, 256), &mut gather, |_, _, _| ());
    assert_eq!(half.unwrap_err().why, Why::Corrupt);
    gather.finish();
    assert_eq!(pool.in_use(), in_use);
}

#[test]
fn rights_change_and_come_back() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = mapped(&m, &pool, GIB, 1024, Level::PMD);
    let middle = range(GIB + 300 * PAGE_SIZE, 500);
    let inside = [GIB + 300 * PAGE_SIZE, GIB + 2 * MIB, GIB + 799 * PAGE_SIZE].map(va);
    let outside = [GIB, GIB + 299 * PAGE_SIZE, GIB + 800 * PAGE_SIZE, GIB + 4 * MIB - 8].map(va);
    for &at in inside.iter().chain(&outside) {
        store(m.user(), at).unwrap();
    }
    let set = |rights| {
        let mut gather = tree.gather(&pool);
        tree.protect(middle, rights, &mut gather).unwrap();
        gather.finish();
    };
    let fault = |va, code| Err(Fault::Page { va, code: FaultCode::from_bits(code).unwrap() });
    let to = |at: VirtAddr| pa(FAR + at.get() - GIB);

    set(Rights::Of(PteBits::USER | PteBits::NO_EXEC));
    for at in inside {
        assert_eq!(load(m.user(), at), Ok(to(at)));
        assert_eq!(store(m.user(), at), fault(at, 7));
        assert_eq!(m.user().fetch(at), fault(at, 0x15));
    }
    set(Rights::None);
    for at in inside {
        assert_eq!(load(m.supervisor(), at), fault(at, 0));
        assert!(matches!(tree.view(at), Some(PteView::ProtNone { .. })));
    }
    set(Rights::Of(RW));
    for at in inside {
        assert_eq!(m.user().fetch(at), Ok(to(at)));
        assert_eq!(store(m.user(), at), Ok(to(at)));
        assert!(bits(tree, at.get()).contains(AD), "A and D have survived");
    }
    for at in outside {
        assert_eq!(store(m.user(), at), Ok(to(at)));
    }
    let leaves = tree.census(range(GIB, 1024)).unwrap().leaves;
    assert_eq!(leaves, Leaves { pte: 1024, pmd: 0, pud: 0 });
}

#[test]
fn rights_leave_alone_what_has_none() {
    let swap = PteView::Swap { entry: SwapEntry::new(0, 7).unwrap(), bits: PteBits::SOFT_DIRTY };
    let poisoned = PteView::Poisoned { pfn: pa(FAR).pfn() };
    for view in [PteView::None, swap, poisoned, PteView::Bad { raw: 2 }] {
        assert_eq!((Rights::None.apply(view), Rights::Of(RW).apply(view)), (view, view));
    }
    let migration = |bits| PteView::Migration { addr: pa(FAR), bits };
    assert_eq!(Rights::Of(PteBits::USER).apply(migration(RW | AD)), migration(PteBits::USER | AD));
    let odd = Rights::Of(PteBits::all()).apply(migration(PteBits::empty()));
    assert_eq!(odd, migration(RW | PteBits::NO_EXEC), "only rights count");
}

#[test]
fn only_losses_flush() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = mapped(&m, &pool, GIB, 512, Level::PTE);
    let change = |change: &dyn Fn(PteBits) -> PteBits| {
        let before = m.tlb().stats().flushes;
        let mut gather = tree.gather(&pool);
        tree.update(range(GIB, 512), &mut gather, |_, _, view| match view {
            PteView::Present { addr, bits } => PteView::Present { addr, bits: change(bits) },
            other => other,
        })
        .unwrap();
        gather.finish();
        m.tlb().stats().flushes - before
    };
    let soft = PteBits::SPECIAL | PteBits::SOFT_DIRTY | PteBits::UFFD_WP | PteBits::EXCLUSIVE;
    for bit in (soft | PteBits::ACCESSED).iter() {
        assert_eq!((change(&|b| b | bit), change(&|b| b - bit)), (0, 0), "{bit:?}");
    }
    for bit in [PteBits::DIRTY, PteBits::WRITE, PteBits::USER, PteBits::GLOBAL] {
        assert_eq!((change(&|b| b | bit), change(&|b| b - bit)), (0, 1), "{bit:?}");
    }
    assert_eq!((change(&|b| b | PteBits::NO_EXEC), change(&|b| b - PteBits::NO_EXEC)), (1, 0));
    for bit in [PteBits::NO_CACHE, PteBits::WRITE_THROUGH] {
        assert_eq!((change(&|b| b | bit), change(&|b| b - bit)), (1, 1), "{bit:?}");
    }
    assert_eq!(change(&|b| b), 0);

    // What can only be read by the supervisor has nothing to lose but its presence.
    change(&|b| b - RW);
    let before = m.tlb().stats().flushes;
    let mut gather = tree.gather(&pool);
    tree.protect(range(GIB, 1), Rights::None, &mut gather).unwrap();
    gather.finish();
    assert_eq!(m.tlb().stats().flushes - before, 1);
}

#[test]
fn an_update_keeps_tables_that_it_empties() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = mapped(&m, &pool, GIB, 512, Level::PTE);
    let in_use = pool.in_use();
    let mut gather = tree.gather(&pool);
    tree.update(range(GIB, 512), &mut gather, |_, _, _| PteView::None).unwrap();
    gather.finish();
    assert_eq!(pool.in_use(), in_use, "a neighbour may be about to use them");
    let mut gather = tree.gather(&pool);
    tree.unmap(range(GIB, 512), &mut gather, |_, _, _| panic!("nothing is mapped")).unwrap();
    gather.finish();
    assert_eq!(pool.in_use(), 1);
}

#[test]
fn a_batch_is_one_flush() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = mapped(&m, &pool, GIB, 2048, Level::PTE);
    let mut gather = tree.gather(&pool);
    for page in 0..2048 {
        let one = range(GIB + page * PAGE_SIZE, 1);
        tree.unmap(one, &mut gather, |_, _, _| ()).unwrap();
    }
    assert_eq!((m.tlb().stats().flushes, pool.in_use()), (0, 1 + 1 + 1 + 4), "all wait for the flush");
    gather.finish();
    assert_eq!((m.tlb().stats().flushes, pool.in_use()), (1, 1));
    let gather = tree.gather(&pool);
    gather.finish();
    assert_eq!(m.tlb().stats().flushes, 1, "nothing changed, nothing to flush");
}

#[test]
fn a_dropped_gather_flushes_all_the_same() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = mapped(&m, &pool, GIB, 1, Level::PTE);
    load(m.user(), va(GIB)).unwrap();
    {
        let mut gather = tree.gather(&pool);
        tree.unmap(range(GIB, 1), &mut gather, |_, _, _| ()).unwrap();
    }
    assert!(load(m.user(), va(GIB)).is_err());
    assert_eq!(pool.in_use(), 1);
}

#[test]
fn unmapping_shows_what_was_there() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = mapped(&m, &pool, GIB, 512 + 3, Level::PMD);
    store(m.user(), va(GIB + 9 * PAGE_SIZE)).unwrap();
    load(m.user(), va(GIB + 513 * PAGE_SIZE)).unwrap();
    let mut seen = Vec::new();
    let mut gather = tree.gather(&pool);
    let all = range(GIB - 4 * MIB, 4096);
    tree.unmap(all, &mut gather, |at, level, old| seen.push((at, level, old))).unwrap();
    gather.finish();
    let leaf = |offset, bits: PteBits| X86_64::present(pa(FAR + offset), RW | bits);
    let page = |n| (va(GIB + n * PAGE_SIZE), Level::PTE);
    assert_eq!(seen[0], (va(GIB), Level::PMD, leaf(0, AD | PteBits::HUGE)));
    let rest = [(512, PteBits::empty()), (513, PteBits::ACCESSED), (514, PteBits::empty())];
    for (&(n, bits), seen) in rest.iter().zip(&seen[1..]) {
        assert_eq!(*seen, (page(n).0, page(n).1, leaf(n * PAGE_SIZE, bits)));
    }
    assert_eq!(seen.len(), 4);
}
