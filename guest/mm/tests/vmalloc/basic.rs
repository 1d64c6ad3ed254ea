//! What areas are, one property at a time.

use super::*;
use mm::addr::PhysAddr;
use mm::port::CpuId;
use mm::vmalloc::{FreeAreaError, Kind, VmallocError, lazy_max_pages};
use sim::Fault;

fn is_unmapped(result: Result<u64, Fault>) -> bool {
    matches!(result, Err(Fault::Page { .. }))
}

#[test]
fn areas_hold_what_is_stored_and_end_with_a_guard() {
    let board = board(32);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let core = board.machine().supervisor();
    let first = areas.vmalloc(&small(4)).unwrap();
    let second = areas.vmalloc(&Request::new(1, CALLER)).unwrap();
    assert_eq!(first.get(), START);
    assert_eq!(second, page(first, 5), "a guard between them");
    for (n, at) in (0..4).map(|n| page(first, n)).chain([second]).enumerate() {
        core.store_u64(at, n as u64).unwrap();
    }
    for (n, at) in (0..4).map(|n| page(first, n)).chain([second]).enumerate() {
        assert_eq!(core.load_u64(at).unwrap(), n as u64);
    }
    assert!(is_unmapped(core.load_u64(page(first, 4))) && is_unmapped(core.load_u64(page(second, 1))));
    assert!(core.fetch(first).is_err(), "data is not executable");
    assert_eq!(areas.used_pages(), 5);
    areas.verify().unwrap();
}

#[test]
fn frames_need_not_lie_in_a_row() {
    let board = board(8);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    // Every other page of what there is: no two free pages lie together.
    let pages = |(pfn, order): (Pfn, Order)| (0..order.pages()).map(move |n| pfn.checked_add(n).unwrap());
    let mut held: Vec<Pfn> = exhaust(&board)
        .into_iter()
        .flat_map(|(pfn, order)| {
            board.give(pfn.get(), order.get()).unwrap();
            let taken: Vec<_> =
                pages((pfn, order)).map(|_| board.take(GfpFlags::GFP_KERNEL, 0).unwrap()).collect();
            taken.into_iter().map(|n| Pfn::new(n).unwrap())
        })
        .collect();
    held.retain(|pfn| pfn.get() % 2 != 0 || board.give(pfn.get(), 0).is_err());
    assert!(board.take(GfpFlags::GFP_KERNEL, 1).is_none());
    let area = areas.vmalloc(&small(256)).unwrap();
    let frames: Vec<_> = (0..256).map(|n| areas.frame_of(page(area, n)).unwrap().get()).collect();
    assert!(frames.windows(2).all(|pair| pair[1] != pair[0] + 1));
    for n in 0..256 {
        board.machine().supervisor().store_u64(page(area, n), n).unwrap();
    }
    assert!((0..256).all(|n| board.machine().supervisor().load_u64(page(area, n)) == Ok(n)));
}

#[test]
fn an_address_belongs_to_its_area_up_to_the_guard() {
    let board = board(32);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let area = areas.vmalloc(&small(3)).unwrap();
    for n in 0..4 {
        let found = areas.find(va(page(area, n).get() + 123)).unwrap();
        assert_eq!((found.start, found.pages, found.caller), (area, 3, CALLER));
        assert_eq!((found.kind, found.is_lazy), (Kind::Vmalloc, false));
        assert_eq!((found.guard(), found.end()), (page(area, 3), page(area, 4)));
    }
    assert_eq!(areas.find(page(area, 4)), None);
    assert_eq!(areas.find(va(START - 1)), None);
    assert_eq!(areas.frame_of(page(area, 3)), None);
    let frames: Vec<_> = (0..3).map(|n| areas.frame_of(page(area, n)).unwrap()).collect();
    assert!(frames[0] != frames[1] && frames[1] != frames[2] && frames[0] != frames[2]);
    let by_node = areas.pages_by_node(&areas.find(area).unwrap(), |_| NodeId::ZERO);
    assert_eq!(by_node[0], 3);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let board = board(16);
    let source = Source::new(&board);
    let areas = open(&board, &source, 64);
    let closed: Areas<'_> = Vmalloc::new(board.machine(), &source);
    assert_eq!(closed.vmalloc(&small(1)), Err(VmallocError::NotReady));
    assert_eq!(areas.vmalloc(&Request::new(0, CALLER)), Err(VmallocError::BadSize));
    assert_eq!(areas.vmalloc(&Request::new(16 * MIB, CALLER)), Err(VmallocError::BadSize));
    assert_eq!(areas.vmalloc(&Request::new(u64::MAX, CALLER)), Err(VmallocError::BadSize));
    assert_eq!(areas.vmalloc(&small(64)), Err(VmallocError::NoAddresses), "the guard does not fit");
    let all = areas.vmalloc(&small(63)).unwrap();
    assert_eq!(areas.vmalloc(&small(1)), Err(VmallocError::NoAddresses));
    areas.vfree(all).unwrap();
    assert!(areas.vmalloc(&small(63)).is_ok(), "a purge makes room");
}

#[test]
fn wrong_frees_are_refused_and_change_nothing() {
    let board = board(32);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let area = areas.vmalloc(&small(4)).unwrap();
    let frame = areas.frame_of(area).unwrap();
    let alias = areas.vmap([frame].into_iter(), PteBits::empty(), CALLER).unwrap();
    let middle = page(area, 2);
    assert_eq!(areas.vfree(middle), Err(FreeAreaError::Nonexistent(middle)));
    assert_eq!(areas.vfree(va(area.get() + 8)), Err(FreeAreaError::BadAddress(va(area.get() + 8))));
    assert_eq!(areas.vfree(va(0x1000)), Err(FreeAreaError::BadAddress(va(0x1000))));
    assert_eq!(areas.vfree(page(alias, 2)), Err(FreeAreaError::Nonexistent(page(alias, 2))));
    assert_eq!(areas.vfree(alias), Err(FreeAreaError::WrongKind(alias)));
    assert_eq!(areas.vunmap(area), Err(FreeAreaError::WrongKind(area)));
    assert_eq!(areas.iounmap(alias), Err(FreeAreaError::WrongKind(alias)));
    board.machine().supervisor().store_u64(middle, 7).unwrap();
    areas.vunmap(alias).unwrap();
    areas.vfree(area).unwrap();
    assert_eq!(areas.vfree(area), Err(FreeAreaError::DoubleFree(area)));
    areas.purge();
    assert_eq!(areas.vfree(area), Err(FreeAreaError::Nonexistent(area)));
    let text = FreeAreaError::Nonexistent(area).to_string();
    assert_eq!(text, "nonexistent vm area (ffffc90000000000)");
    areas.verify().unwrap();
}

#[test]
fn frames_die_only_after_the_flush_and_addresses_come_back_after_it() {
    let board = board(32);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let machine = board.machine();
    let area = areas.vmalloc(&small(2)).unwrap();
    let before = source.out();
    let other = |work: &dyn Fn() -> Result<u64, Fault>| machine.cpu().run_on(CpuId(1), work);
    machine.supervisor().store_u64(area, 42).unwrap();
    assert_eq!(other(&|| machine.supervisor().load_u64(area)), Ok(42));
    areas.vfree(area).unwrap();
    assert_eq!((areas.used_pages(), areas.lazy_pages()), (0, 3));
    assert_eq!(source.out(), before, "its frames are not free yet");
    // CPU 1 has the translation cached: it still arrives at the old frame, which is nobody else's.
    assert_eq!(other(&|| machine.supervisor().load_u64(area)), Ok(42));
    // A CPU that has not faults at once.
    assert!(is_unmapped(machine.cpu().run_on(CpuId(2), || machine.supervisor().load_u64(area))));
    let next = areas.vmalloc(&small(2)).unwrap();
    assert!(next.get() >= area.get() + 3 * 4096, "its pages are not given out before the flush");
    let flushes = machine.tlb().stats().flushes;
    assert_eq!(areas.purge(), 3);
    assert_eq!(machine.tlb().stats().flushes, flushes + 1);
    assert_eq!(source.out(), before);
    assert!(is_unmapped(other(&|| machine.supervisor().load_u64(area))));
    assert_eq!(areas.vmalloc(&small(2)).unwrap(), area);
    assert_eq!(areas.purge(), 0, "nothing waits");
}

#[test]
fn one_flush_serves_many_areas() {
    let board = board(64);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let before = board.machine().tlb().stats();
    for _ in 0..1000 {
        let area = areas.vmalloc(&small(4)).unwrap();
        areas.vfree(area).unwrap();
    }
    let after = board.machine().tlb().stats();
    // 1/64 of 63 MiB is 252 pages of five each.
    let flushes = after.flushes - before.flushes + after.full_flushes - before.full_flushes;
    assert!((18..=21).contains(&flushes), "{flushes} flushes");
    assert_eq!(areas.purges(), flushes);
    assert_eq!([1, 2, 3, 4, 64].map(lazy_max_pages), [8192, 16384, 16384, 24576, 57344]);
}

#[test]
fn vzalloc_gives_zeroes() {
    let board = board(16);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let request = Request { gfp: GfpFlags::GFP_KERNEL | GfpFlags::__GFP_ZERO, ..small(8) };
    let area = areas.vmalloc(&request).unwrap();
    for word in 0..8 * 512 {
        assert_eq!(board.machine().supervisor().load_u64(va(area.get() + word * 8)), Ok(0));
    }
}

#[test]
fn large_areas_have_large_leaves_where_wanted() {
    let board = board(64);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let machine = board.machine();
    // Small areas leave tables behind, which must not be in the way.
    for area in [3, 600, 20].map(|pages| areas.vmalloc(&small(pages)).unwrap()) {
        areas.vfree(area).unwrap();
    }
    areas.purge();
    let area = areas.vmalloc(&huge(2 * 512 + 3)).unwrap();
    assert!(area.get().is_multiple_of(2 * MIB));
    let leaves = areas.tree.census(range(area.get(), 2 * 512 + 3)).unwrap().leaves;
    assert_eq!((leaves.pmd, leaves.pte), (2, 3));
    for n in 0..2 * 512 + 3 {
        machine.supervisor().store_u64(page(area, n), n).unwrap();
    }
    for n in 0..2 * 512 + 3 {
        assert_eq!(machine.supervisor().load_u64(page(area, n)), Ok(n));
    }
    assert!(is_unmapped(machine.supervisor().load_u64(page(area, 2 * 512 + 3))));
    areas.vfree(area).unwrap();
    areas.purge();
    let small = areas.vmalloc(&small(1024)).unwrap();
    let leaves = areas.tree.census(range(small.get(), 1024)).unwrap().leaves;
    assert_eq!((leaves.pmd, leaves.pte), (0, 1024), "not unless asked for");
    areas.vfree(small).unwrap();
    areas.purge();
    assert_eq!(source.out(), areas.descriptor_frames());
    areas.verify().unwrap();
}

#[test]
fn device_registers_are_seen_at_their_offset() {
    let board = board(16);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let registers = PhysAddr::new(0xfebc_1ff0).unwrap();
    let at = areas.ioremap(registers, 0x20, PteBits::NO_CACHE, CALLER).unwrap();
    assert_eq!(at.get() % 4096, 0xff0);
    assert_eq!(board.machine().supervisor().load_u64(at), Err(Fault::NotRam { pa: registers }));
    let area = areas.find(at).unwrap();
    assert_eq!((area.kind, area.pages), (Kind::Ioremap(PhysAddr::new(0xfebc_1000).unwrap()), 2));
    let start = area.start;
    assert_eq!(areas.ioremap(registers, 0, PteBits::empty(), CALLER), Err(VmallocError::BadSize));
    assert_eq!(areas.ioremap(registers, u64::MAX, PteBits::empty(), CALLER), Err(VmallocError::BadSize));
    let last = PhysAddr::new((1 << 52) - 4096).unwrap();
    assert_eq!(areas.ioremap(last, 8192, PteBits::empty(), CALLER), Err(VmallocError::Invalid));
    areas.iounmap(start).unwrap();
    assert_eq!(areas.used_pages(), 0);
}

#[test]
fn a_list_of_frames_is_mapped_in_its_order() {
    let board = board(16);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let held: Vec<_> = (0..3).map(|_| board.take(GfpFlags::GFP_KERNEL, 0).unwrap()).collect();
    let frames: Vec<_> = [2, 0, 1, 0].map(|n: usize| Pfn::new(held[n]).unwrap()).into();
    let area = areas.vmap(frames.iter().copied(), PteBits::empty(), CALLER).unwrap();
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(areas.frame_of(page(area, n as u64)), Some(*frame));
    }
    board.machine().supervisor().store_u64(page(area, 1), 5).unwrap();
    assert_eq!(board.machine().supervisor().load_u64(page(area, 3)), Ok(5), "the same frame twice");
    assert_eq!(areas.used_pages(), 0, "the frames are not its own");
    areas.vunmap(area).unwrap();
    areas.purge();
    held.iter().for_each(|frame| board.give(*frame, 0).unwrap());
    assert_eq!(areas.vmap([].into_iter(), PteBits::empty(), CALLER), Err(VmallocError::BadSize));
}

#[test]
fn areas_are_listed_in_order() {
    let board = board(32);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let made: Vec<_> = [1, 2, 3, 4].map(|pages| areas.vmalloc(&small(pages)).unwrap()).into();
    areas.vfree(made[1]).unwrap();
    let mut listed = Vec::new();
    let mut from = va(0);
    while let Some(area) = areas.next_area(from) {
        listed.push((area.start, area.is_lazy));
        from = area.end();
    }
    let expected: Vec<_> = made.iter().map(|at| (*at, *at == made[1])).collect();
    assert_eq!(listed, expected);
    areas.purge();
    assert_eq!(areas.next_area(made[1]).unwrap().start, made[2]);
    assert_eq!(areas.next_area(va(made[0].get() + 1)).unwrap().start, made[2]);
}

#[test]
fn a_flush_that_does_nothing_is_found_out() {
    let board = board(16);
    let source = Source::new(&board);
    let areas = open(&board, &source, 1 << 20);
    let core = board.machine().supervisor();
    let area = areas.vmalloc(&small(1)).unwrap();
    core.store_u64(area, 1).unwrap();
    areas.vfree(area).unwrap();
    board.machine().tlb().break_flushes();
    areas.purge();
    // The frame is poisoned when it is free; the stale translation shows it.
    assert_eq!(core.load_u64(area), Ok(0x6767_6767_6767_6767), "the simulator keeps stale translations");
}
