//! Mapping and unmapping: leaf sizes, borders, errors, and tables that come and go.

use crate::map_fixture::{FAR, activate, load, machine, new_tree, pa, pool, range, va};
use mm::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};
use mm::memblock::{Memblock, Request};
use mm::pgtable::{Leaves, PageRange, PageTable, PtError, Stride, TableFrames, Why};
use mm::port::{Level, PteBits, PteView};
use sim::{Machine, TablePool};
use std::cell::RefCell;

const RW: PteBits = PteBits::WRITE.union(PteBits::USER);
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Unmaps `range` and gives how many pages were in it.
fn unmap(tree: PageTable<'_, Machine>, pool: &TablePool<'_>, range: PageRange) -> u64 {
    let mut pages = 0;
    let mut gather = tree.gather(pool);
    tree.unmap(range, &mut gather, |_, level, _| pages += level.pages()).unwrap();
    gather.finish();
    pages
}

#[test]
fn every_leaf_size_at_every_depth() {
    for root in [Level::PUD, Level::P4D, Level::PGD] {
        for leaf in [Level::PTE, Level::PMD, Level::PUD] {
            for at in [5 * GIB, (!0) << 38] {
                let m = machine(root);
                let pool = pool(&m);
                let tree = new_tree(&m, &pool);
                activate(&m, tree);
                tree.map(va(at), pa(FAR), leaf, RW, &pool).unwrap();

                let walk = tree.walk(va(at)).unwrap();
                assert_eq!(walk.steps().len() as u32, root.get() - leaf.get() + 1);
                let last = at + leaf.size() - 8;
                assert_eq!(load(m.user(), va(last)), Ok(pa(FAR + leaf.size() - 8)));
                assert_eq!(tree.translate(va(last)), Some(pa(FAR + leaf.size() - 8)));
                assert_eq!(tree.translate(va(at - PAGE_SIZE)), None);
                assert_eq!(pool.in_use() as u32, root.get() - leaf.get() + 1);

                assert_eq!(unmap(tree, &pool, range(at, leaf.pages())), leaf.pages());
                assert!(load(m.user(), va(at)).is_err());
                // In the upper half the root keeps what it has been given.
                let kept = if at >> 63 == 1 && leaf < root { 2 } else { 1 };
                assert_eq!(pool.in_use(), kept);
            }
        }
    }
}

#[test]
fn a_walk_prints_one_line_per_level() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = new_tree(&m, &pool);
    tree.map(va(3 * GIB), pa(FAR), Level::PMD, RW | PteBits::NO_EXEC, &pool).unwrap();
    let text = tree.walk(va(3 * GIB)).unwrap().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines, ["PGD[0] = 0x2067", "PUD[3] = 0x3067", "PMD[0] = 0x8000010000000087"]);
}

/// Maps, compares each page with where it must be, unmaps.
fn check_range(start: u64, pages: u64, target: PhysAddr, max_leaf: Level) {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = new_tree(&m, &pool);
    let all = range(start, pages);
    let leaves = tree.map_range(all, target, max_leaf, RW, &pool).unwrap();
    let about = format!("{start:#x}+{pages} to {target:?} by {max_leaf:?}");
    assert_eq!(leaves.pages(), pages, "{about}");
    assert_eq!(tree.census(all).unwrap().leaves, leaves, "{about}");
    let large = |level: Level| {
        let congruent = (start ^ target.get()) & (level.size() - 1) == 0;
        let first = start.next_multiple_of(level.size());
        let end = (start + pages * PAGE_SIZE) & !(level.size() - 1);
        if congruent && level <= max_leaf { end.saturating_sub(first) >> level.shift() } else { 0 }
    };
    assert_eq!(leaves.pmd, large(Level::PMD), "{about}");
    for page in 0..pages {
        let offset = page * PAGE_SIZE;
        let want = target.checked_add(offset);
        assert_eq!(tree.translate(va(start + offset)), want, "{about}");
    }
    for outside in [start - PAGE_SIZE, start + pages * PAGE_SIZE] {
        assert_eq!(tree.translate(va(outside)), None, "{about}");
    }
    assert_eq!(unmap(tree, &pool, all), pages, "{about}");
    assert_eq!(pool.in_use(), 1, "{about}");
}

#[test]
fn ranges_around_every_border() {
    for first in [0, 1, 511, 512, 513, 1023] {
        for pages in [1, 2, 511, 512, 513, 1024, 1025] {
            for skew in [0, 1, 512] {
                for max_leaf in [Level::PTE, Level::PMD] {
                    // The third GiB border falls into the ranges.
                    let start = 3 * GIB - 2 * MIB + first * PAGE_SIZE;
                    check_range(start, pages, pa(FAR + (first + skew) * PAGE_SIZE), max_leaf);
                }
            }
        }
    }
}

#[test]
fn gigabytes_are_used_where_the_cpu_has_them() {
    for (cpu, want) in [
        (Level::PUD, Leaves { pte: 2, pmd: 1022, pud: 2 }),
        (Level::PMD, Leaves { pte: 2, pmd: 1022 + 1024, pud: 0 }),
    ] {
        let m = Machine::builder().ram(0..8 * MIB).max_leaf(cpu).build();
        let pool = TablePool::new(&m, 1..2048);
        let tree = new_tree(&m, &pool);
        let start = 0xffff_8880_0000_0000 + 2 * MIB;
        let all = range(start, 4 * Level::PUD.pages() - 512 - 510);
        let got = tree.map_range(all, pa(2 * MIB), Level::PUD, RW, &pool).unwrap();
        assert_eq!(got, want);
        for probe in [start, start + GIB, start + 3 * GIB + 12345 * 8, start + 4 * GIB - 4 * MIB] {
            let offset = probe - start + 2 * MIB;
            assert_eq!(tree.translate(va(probe)), Some(pa(offset)), "{probe:#x}");
        }
        assert_eq!(unmap(tree, &pool, all), all.pages());
        assert_eq!(pool.in_use(), 2, "the root and its upper table");
    }
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let m = Machine::builder().ram(0..MIB).max_leaf(Level::PMD).build();
    let pool = TablePool::new(&m, 1..256);
    let tree = new_tree(&m, &pool);
    let map = |at, to, level| tree.map(va(at), pa(to), level, RW, &pool).map_err(|e| e.why);
    assert_eq!(map(GIB, 0, Level::PUD), Err(Why::NoSuchLeaf));
    assert_eq!(map(GIB + 4096, 0, Level::PMD), Err(Why::Invalid));
    assert_eq!(map(GIB, 4096, Level::PMD), Err(Why::Invalid));
    assert_eq!(map(1 << 47, 0, Level::PTE), Err(Why::Invalid), "not canonical with four levels");
    let fill = |range, to| tree.map_range(range, pa(to), Level::PUD, RW, &pool).map_err(|e| e.why);
    assert_eq!(fill(range(GIB, 1), 8), Err(Why::Invalid));
    assert_eq!(fill(range(GIB, 2), (1 << 52) - 4096), Err(Why::Invalid));
    assert_eq!(fill(range((1 << 47) - 4096, 2), 0), Err(Why::Invalid));
    assert_eq!(pool.in_use(), 1);
    assert_eq!(fill(range((1 << 47) - 4096, 1), 0), Ok(Leaves { pte: 1, pmd: 0, pud: 0 }));
    assert_eq!(fill(range(!0 << 12, 1), 0), Ok(Leaves { pte: 1, pmd: 0, pud: 0 }));
    assert_eq!(unmap(tree, &pool, range((1 << 47) - 4096, 1)), 1);
    assert_eq!(unmap(tree, &pool, range(!0 << 12, 1)), 1);
    let text = tree.map(va(GIB), pa(0), Level::PUD, RW, &pool).unwrap_err().to_string();
    assert_eq!(text, "page table at 0x40000000: page size not supported by this CPU");
}

#[test]
fn ranges_stay_in_their_half() {
    let max = 1 << 45;
    for (start, pages, good) in [
        (0, 0, true),
        (0, 1 << 44, true),
        (0, (1 << 44) + 1, false),
        (8, 1, false),
        ((1 << 56) - 4096, 1, true),
        ((1 << 56) - 4096, 2, false),
        ((1 << 56) - 4096, max, false),
        (!0 << 56, 1 << 44, true),
        (!0 << 12, 1, true),
        (!0 << 12, 2, false),
        (0, u64::MAX, false),
        (0, (1 << 52) - 1, false),
    ] {
        assert_eq!(PageRange::new(va(start), pages).is_some(), good, "{start:#x}+{pages:#x}");
    }
}

#[test]
fn parts_of_a_range_stay_in_it() {
    let all = range(GIB, 10);
    assert_eq!(all.part(3, 7), Some(range(GIB + 3 * 4096, 7)));
    assert_eq!((all.part(0, 10), all.part(10, 0)), (Some(all), Some(range(GIB + 10 * 4096, 0))));
    for (offset, pages) in [(0, 11), (3, 8), (11, 0), (u64::MAX, 1), (1, u64::MAX)] {
        assert_eq!(all.part(offset, pages), None, "{offset}+{pages}");
    }
}

#[test]
fn the_first_occupied_page_stops_a_range() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = new_tree(&m, &pool);
    tree.map(va(GIB + 4 * MIB + 4096), pa(FAR), Level::PTE, RW, &pool).unwrap();
    let all = range(GIB, 2048);
    let stopped = tree.map_range(all, pa(FAR), Level::PUD, RW, &pool).unwrap_err();
    assert_eq!(stopped, PtError { at: va(GIB + 4 * MIB + 4096), why: Why::Exists });
    assert_eq!(tree.census(all).unwrap().leaves, Leaves { pte: 2, pmd: 2, pud: 0 });
    let again = |at, level| tree.map(va(at), pa(FAR), level, RW, &pool).map_err(|e| e.why);
    assert_eq!(again(GIB, Level::PMD), Err(Why::Exists));
    assert_eq!(again(GIB + 4096, Level::PTE), Err(Why::Exists), "inside a large leaf");
    assert_eq!(again(GIB + 4 * MIB, Level::PMD), Err(Why::Exists), "over a table");
}

#[test]
fn a_lack_of_frames_stops_cleanly_wherever_it_comes() {
    let all = range(GIB - 2 * MIB + 4096, 2048);
    let needed = 1 + 2 + 5;
    for credit in 0..=needed {
        let m = machine(Level::P4D);
        let pool = pool(&m);
        let tree = new_tree(&m, &pool);
        pool.fail_after(credit);
        let result = tree.map_range(all, pa(FAR), Level::PMD, RW, &pool);
        let Err(stopped) = result else {
            assert_eq!(credit, needed);
            continue;
        };
        assert!(credit < needed, "{credit}");
        assert_eq!(stopped.why, Why::NoFrames);
        let done = (stopped.at.get() - all.start().get()) / PAGE_SIZE;
        assert_eq!(tree.census(all).unwrap().leaves.pages(), done);
        assert_eq!(unmap(tree, &pool, all), done);
        assert_eq!(pool.in_use(), 1, "{credit}");
    }
}

#[test]
fn predicted_tables_are_the_tables_made() {
    let mapped_before = [None, Some(8 * GIB + 4096), Some(9 * GIB + 4096)];
    let steps = [PAGE_SIZE, 2 * MIB, 2 * MIB + PAGE_SIZE, 3 * MIB, GIB, 512 * GIB];
    for (step, before) in steps.into_iter().flat_map(|s| mapped_before.map(|b| (s, b))) {
        for (count, leaf) in [(1, Level::PTE), (100, Level::PTE), (512, Level::PTE), (100, Level::PMD)] {
            let m = machine(Level::P4D);
            let pool = pool(&m);
            let tree = new_tree(&m, &pool);
            if let Some(at) = before {
                tree.map(va(at), pa(FAR), Level::PTE, RW, &pool).unwrap();
            }
            if step < leaf.size() || (step * count) >> 47 != 0 {
                continue;
            }
            let start = va(8 * GIB + 4 * MIB);
            let step = step & !(leaf.size() - 1);
            let stride = Stride { start, count, step };
            let in_use = pool.in_use() as u64;
            let predicted = tree.missing_tables(stride, leaf).unwrap();
            let addresses = || (0..count).map(|i| va(start.get() + i * step));
            for at in addresses() {
                tree.map(at, pa(FAR), leaf, RW, &pool).unwrap();
            }
            let about = format!("{count} times {leaf:?} by {step:#x}, before {before:?}");
            assert_eq!(pool.in_use() as u64 - in_use, predicted, "{about}");
            assert_eq!(tree.missing_tables(stride, leaf), Some(0), "{about}");
            let mut gather = tree.gather(&pool);
            for at in addresses() {
                let one = PageRange::new(at, leaf.pages()).unwrap();
                tree.unmap(one, &mut gather, |_, _, _| ()).unwrap();
            }
            gather.finish();
            assert_eq!(pool.in_use() as u64, in_use, "{about}");
        }
    }
}

#[test]
fn roots_share_their_upper_half() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let kernel = new_tree(&m, &pool);
    let upper = 0xffff_c900_0000_0000;
    kernel.preallocate(range(upper, 768 << 18), &pool).unwrap();
    assert_eq!(pool.in_use(), 3, "768 GiB are two entries");
    let (a, b) = (kernel.new_sharing_upper(&pool).unwrap(), kernel.new_sharing_upper(&pool).unwrap());

    a.map(va(upper), pa(FAR), Level::PTE, RW, &pool).unwrap();
    a.map(va(GIB), pa(FAR), Level::PTE, RW, &pool).unwrap();
    for (tree, lower) in [(kernel, None), (a, Some(pa(FAR))), (b, None)] {
        assert_eq!((tree.translate(va(upper)), tree.translate(va(GIB))), (Some(pa(FAR)), lower));
    }
    assert_eq!(unmap(b, &pool, range(upper, 1)), 1);
    assert_eq!((kernel.translate(va(upper)), a.translate(va(upper))), (None, None));

    // SAFETY: no CPU has these roots, and these are the last uses of their handles.
    unsafe {
        assert!(a.free_root(&pool).is_err(), "something is mapped");
        assert_eq!(unmap(a, &pool, range(GIB, 1)), 1);
        a.free_root(&pool).unwrap();
        b.free_root(&pool).unwrap();
    }
    assert_eq!(pool.in_use(), 3);
}

#[test]
fn a_view_tells_what_is_there() {
    let m = machine(Level::P4D);
    let pool = pool(&m);
    let tree = new_tree(&m, &pool);
    assert_eq!(tree.view(va(GIB)), Some(PteView::None));
    assert_eq!(tree.view(va(1 << 47)), None);
    tree.map(va(GIB), pa(FAR), Level::PMD, RW, &pool).unwrap();
    let bits = RW | PteBits::PRESENT | PteBits::HUGE;
    assert_eq!(tree.view(va(GIB + 12345)), Some(PteView::Present { addr: pa(FAR), bits }));
}

/// The tree works in an arena that begins anywhere: nothing assumes that frame 0 or low frames are tables.
#[test]
fn tables_may_lie_beyond_a_hole() {
    let m = Machine::builder().ram(0..MIB).ram(4 * GIB..4 * GIB + MIB).build();
    let first = 4 * GIB / PAGE_SIZE;
    let pool = TablePool::new(&m, first..first + 256);
    let tree = new_tree(&m, &pool);
    activate(&m, tree);
    tree.map_range(range(GIB, 1024), pa(FAR), Level::PTE, RW, &pool).unwrap();
    let probe = VirtAddr::new(GIB + 777 * PAGE_SIZE).unwrap();
    assert_eq!(load(m.user(), probe), Ok(pa(FAR + 777 * PAGE_SIZE)));
    assert_eq!(unmap(tree, &pool, range(GIB, 1024)), 1024);
    assert_eq!(pool.in_use(), 1);
}

/// Tables before there are zones.
struct FromMemblock<'a>(RefCell<&'a mut Memblock>);

// SAFETY: the memory map gives each frame out once.
unsafe impl TableFrames for FromMemblock<'_> {
    fn alloc_table(&self) -> Option<Pfn> {
        let taken = self.0.borrow_mut().alloc(&Request::new(PAGE_SIZE, PAGE_SIZE));
        taken.ok().map(PhysAddr::pfn)
    }

    unsafe fn free_table(&self, pfn: Pfn) {
        self.0.borrow_mut().release(pfn.addr(), PAGE_SIZE).unwrap();
    }
}

#[test]
fn the_direct_map_is_made_from_the_memory_map() {
    let m = Machine::builder().ram(0..8 * MIB).build();
    let mut memblock = Memblock::new();
    memblock.add(pa(0), 8 * MIB, None).unwrap();
    memblock.reserve(pa(0), MIB).unwrap();
    let free = |memblock: &Memblock| memblock.free_pages().map(|run| run.pages()).sum::<u64>();
    let before = free(&memblock);
    let direct = 0xffff_8880_0000_0000;
    {
        let frames = FromMemblock(RefCell::new(&mut memblock));
        let tree = new_tree(&m, &frames);
        let all = range(direct, 4096);
        let leaves = tree.map_range(all, pa(0), Level::PUD, RW | PteBits::GLOBAL, &frames).unwrap();
        assert_eq!(leaves, Leaves { pte: 0, pmd: 8, pud: 0 });
        activate(&m, tree);
        m.supervisor().store_u64(va(direct + MIB), 7).unwrap();
        assert_eq!(m.supervisor().load_u64(va(direct + MIB)), Ok(7));
        let mut gather = tree.gather(&frames);
        tree.unmap(all, &mut gather, |_, _, _| ()).unwrap();
        gather.finish();
    }
    assert_eq!(before - free(&memblock), 2, "the root and its upper table");
}

#[test]
fn a_full_memory_map_is_no_frames() {
    let m = Machine::with_ram(MIB);
    let mut memblock = Memblock::new();
    memblock.add(pa(0), 2 * PAGE_SIZE, None).unwrap();
    let frames = FromMemblock(RefCell::new(&mut memblock));
    let tree = new_tree(&m, &frames);
    let stopped = tree.map(va(GIB), pa(FAR), Level::PTE, RW, &frames).unwrap_err();
    assert_eq!(stopped.why, Why::NoFrames);
}
