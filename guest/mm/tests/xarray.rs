//! Arrays: what a user sees, memory that runs out, and lookups beside changes.

use crate::xarray_fixture::{CPUS, handle, value, with_nodes};
use mm::port::CpuId;
use mm::sync::rcu::read_lock;
use mm::xarray::{Census, Cursor, Entry, Mark, XArray, XaError};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

#[test]
fn words_are_what_they_were_made_of() {
    assert_eq!(Entry::value(1 << 63), None);
    assert_eq!(Entry::value((1 << 63) - 1).unwrap().as_value(), Some((1 << 63) - 1));
    assert!(value(0).is_value() && !value(0).is_null() && !value(0).is_pointer());
    assert_eq!((Entry::handle(0), Entry::handle(1 << 62)), (None, None));
    assert_eq!((handle(7).as_handle(), handle(7).as_value()), (Some(7), None));
    let (aligned, odd) = (NonNull::from(&8_u64).cast::<()>(), NonNull::from(&[1_u8; 8]).cast::<u8>());
    assert_eq!(Entry::pointer(aligned).unwrap().as_pointer(), Some(aligned));
    for n in 1..4 {
        // SAFETY: inside the array.
        let at = unsafe { odd.add(n) };
        assert_eq!(Entry::pointer(at.cast()).is_some(), at.addr().get() % 4 == 0);
    }
}

#[test]
fn one_entry_at_index_0_needs_no_node_and_levels_come_and_go() {
    with_nodes(|fixture| {
        let array = XArray::new();
        let nodes = || array.verify(fixture.cpu()).unwrap().nodes;
        fixture.store(&array, 0, handle(1));
        assert_eq!(nodes(), 0);
        fixture.store(&array, 63, handle(2));
        assert_eq!(nodes(), 1);
        fixture.store(&array, u64::MAX, handle(3));
        assert_eq!(nodes(), 21, "11 levels, and 10 on the other way");
        assert_eq!(array.erase(&fixture.nodes, u64::MAX), handle(3));
        assert_eq!(nodes(), 1);
        assert_eq!(array.erase(&fixture.nodes, 63), handle(2));
        assert_eq!((nodes(), array.load(&fixture.section(), 0)), (0, handle(1)));
        assert_eq!(fixture.nodes.waiting(), 21);
        assert_eq!((fixture.nodes.settle(), fixture.nodes_in_use()), (21, 0));
        array.destroy(&fixture.nodes);
    });
}

#[test]
fn insert_and_cmpxchg_leave_what_they_do_not_expect() {
    with_nodes(|fixture| {
        let (array, source) = (XArray::new(), fixture.source());
        array.insert(&source, 70, handle(1)).unwrap();
        assert_eq!(array.insert(&source, 70, handle(2)), Err(XaError::Busy));
        assert_eq!(array.cmpxchg(&source, 70, handle(2), handle(3)), Ok(handle(1)));
        assert_eq!(array.cmpxchg(&source, 70, handle(1), Entry::NULL), Ok(handle(1)));
        assert!(array.is_empty());
    });
}

#[test]
fn a_large_entry_is_one_and_divides_into_small_ones() {
    with_nodes(|fixture| {
        let (array, source) = (XArray::new(), fixture.source());
        array.store_order(&source, 1000, 9, handle(5)).unwrap();
        array.set_mark(fixture.cpu(), 1023, Mark::Dirty);
        assert_eq!(array.order_at(&fixture.section(), 512), 9);
        assert_eq!(array.load(&fixture.section(), 1023), handle(5));
        assert!(
            array.load(&fixture.section(), 511).is_null() && array.load(&fixture.section(), 1024).is_null()
        );
        fixture.store(&array, 600, value(6));
        assert_eq!(array.load(&fixture.section(), 900), value(6), "all of it is replaced");
        array.split(&source, 700, 0).unwrap();
        let census = array.verify(fixture.cpu()).unwrap();
        assert_eq!((census.entries, census.values, census.marked), (512, 512, [512, 0, 0]));
        assert_eq!(array.erase(&fixture.nodes, 700), value(6));
        assert_eq!(array.next_hole(&fixture.section(), 512, 1023), Some(700));
        array.destroy(&fixture.nodes);
        array.store_order(&source, 0, 20, handle(1)).unwrap();
        assert_eq!(array.split(&source, 0, 3), Err(XaError::TooLarge));
        array.split(&source, 0, 12).unwrap();
        assert_eq!(array.verify(fixture.cpu()).unwrap().entries, 256);
        array.destroy(&fixture.nodes);
    });
}

/// Readahead's question: shadows are misses, but no holes.
#[test]
fn misses_and_holes_differ_by_values() {
    with_nodes(|fixture| {
        let array = XArray::new();
        fixture.fill(&array, 10, 100);
        fixture.store(&array, 50, value(9));
        let section = fixture.section();
        assert_eq!(array.next_miss(&section, 10, 200), Some(50));
        assert_eq!(array.next_hole(&section, 10, 200), Some(110));
        assert_eq!(array.prev_miss(&section, 0, 100), Some(50));
        assert_eq!(array.prev_miss(&section, 10, 40), None);
        assert_eq!(array.next_miss(&section, 60, 109), None);
        assert_eq!(array.next_miss(&section, u64::MAX - 1, u64::MAX), Some(u64::MAX - 1));
        drop(section);
        array.destroy(&fixture.nodes);
    });
}

/// Writing back: all that is dirty in a window is marked, and a cursor goes over it while it is cleaned.
#[test]
fn a_window_of_dirty_entries_is_tagged_and_walked_while_it_changes() {
    with_nodes(|fixture| {
        let (array, cpu) = (XArray::new(), fixture.cpu());
        fixture.fill(&array, 0, 10_000);
        (0..10_000).step_by(2).for_each(|index| array.set_mark(cpu, index, Mark::Dirty));
        assert_eq!(array.tag_range(cpu, 100, 9_099, Mark::Dirty, Mark::Towrite), 4500);
        let (mut cursor, mut seen) = (Cursor::marked(0, u64::MAX, Mark::Towrite), Vec::new());
        while let Some(found) = { cursor.next(&array, &fixture.section()) } {
            seen.push(found.index);
            array.clear_mark(cpu, found.index, Mark::Towrite);
            array.erase(&fixture.nodes, found.index);
            array.erase(&fixture.nodes, found.index + 1);
        }
        assert_eq!(seen, (100..9_100).step_by(2).collect::<Vec<_>>());
        assert!(!array.is_marked(Mark::Towrite) && array.is_marked(Mark::Dirty));
        array.destroy(&fixture.nodes);
    });
}

/// Every operation that needs nodes, with every number of them short of what it needs: nothing has changed, and with
/// one more it succeeds.
#[test]
fn without_memory_nothing_changes() {
    type Change = fn(&XArray, &crate::xarray_fixture::Fixture<'_, '_>) -> Result<(), XaError>;
    let changes: [(Change, usize); 5] = [
        (|array, fixture| array.store(&fixture.source(), 1 << 40, handle(9)).map(drop), 12),
        (|array, fixture| array.store_order(&fixture.source(), 1 << 30, 9, handle(9)).map(drop), 8),
        (|array, fixture| array.insert(&fixture.source(), 5000, handle(9)), 4),
        (|array, fixture| array.split(&fixture.source(), 1024, 0), 8),
        (|array, fixture| array.store_range(&fixture.source(), 127, 8000, handle(9)), 14),
    ];
    for (n, (change, at_most)) in changes.into_iter().enumerate() {
        for left in 0.. {
            let mut done = false;
            with_nodes(|fixture| {
                let array = XArray::new();
                array.store_order(&fixture.source(), 1024, 9, value(3)).unwrap();
                fixture.store(&array, 0, handle(1));
                let before = array.verify(fixture.cpu()).unwrap();
                done = fixture.with_nodes_left(left, || {
                    let result = change(&array, fixture);
                    assert!(matches!(result, Ok(()) | Err(XaError::NoMemory)), "{n}: {result:?}");
                    result.is_ok()
                });
                let after = array.verify(fixture.cpu()).unwrap();
                assert_eq!(before == after, !done, "{n} with {left} nodes");
                let all = Census { entries: 2, values: 1, ..before };
                assert_eq!(before, all);
                array.destroy(&fixture.nodes);
            });
            if done {
                assert!(left > 0 && left <= at_most, "{n} took {left} nodes");
                break;
            }
        }
    }
}

/// A node stays while a section that may be in it lasts, however long that is.
#[test]
fn a_grace_period_waits_for_sections() {
    with_nodes(|fixture| {
        let array = XArray::new();
        fixture.fill(&array, 0, 100);
        let (inside, freed, cpus) = (AtomicBool::new(false), AtomicBool::new(false), fixture.cpu());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                cpus.run_on(CpuId(1), || {
                    let section = read_lock(cpus);
                    assert_eq!(array.load(&section, 70), handle(71));
                    inside.store(true, SeqCst);
                    std::thread::sleep(Duration::from_millis(100));
                    assert!(!freed.load(SeqCst), "freed under a lookup");
                });
            });
            while !inside.load(SeqCst) {
                std::thread::yield_now();
            }
            array.destroy(&fixture.nodes);
            assert_eq!(fixture.nodes.settle(), 3);
            freed.store(true, SeqCst);
        });
    });
}

/// Two CPUs look up, search and go over an array that a third fills, divides and empties over and over. An entry names
/// its index, so a wrong one is seen.
#[test]
fn lookups_beside_changes_find_what_stands_there() {
    const ROUNDS: u64 = 60;
    const SPAN: u64 = 1 << 13;
    with_nodes(|fixture| {
        let (array, done, looked) = (XArray::new(), AtomicBool::new(false), AtomicU64::new(0));
        let cpus = fixture.cpu();
        // What stays all the time, and holds no level.
        fixture.store(&array, 3, handle(4));
        std::thread::scope(|scope| {
            for cpu in 1..CPUS {
                let (array, done, looked) = (&array, &done, &looked);
                scope.spawn(move || {
                    cpus.run_on(CpuId(cpu), || {
                        let mut index = u64::from(cpu);
                        while !done.load(SeqCst) {
                            index = (index * 25 + 7) % SPAN;
                            let section = read_lock(cpus);
                            let entry = array.load(&section, index);
                            assert!(entry.is_null() || stands(entry, index), "{entry:?} at {index}");
                            if let Some(found) = array.find(&section, index, SPAN, None) {
                                assert!(
                                    stands(found.entry, found.index) && found.last() >= index,
                                    "{found:?}"
                                );
                            }
                            assert_eq!(array.load(&section, 3), handle(4));
                            looked.fetch_add(1, SeqCst);
                        }
                    });
                });
            }
            cpus.run_on(CpuId(0), || {
                let source = fixture.source();
                for round in 0..ROUNDS {
                    let order = [0, 2, 6, 8][round as usize % 4];
                    for first in (256..SPAN).step_by(1 << order) {
                        array.store_order(&source, first, order, block(first, order)).unwrap();
                    }
                    for first in (256..SPAN).step_by(1 << order).filter(|first| first % 3 == 0 && order != 0)
                    {
                        array.split(&source, first, order - 1).unwrap();
                    }
                    for first in 256..SPAN {
                        array.erase(&fixture.nodes, first);
                    }
                    assert_eq!(array.verify(cpus).unwrap().entries, 1);
                }
                while looked.load(SeqCst) < 1000 {
                    std::thread::yield_now();
                }
                done.store(true, SeqCst);
            });
        });
        array.destroy(&fixture.nodes);
    });
}

/// An entry that says which indices it is for.
fn block(first: u64, order: u32) -> Entry {
    value((first >> order) << 8 | u64::from(order))
}

/// Whether it is for this index.
fn stands(entry: Entry, index: u64) -> bool {
    match entry.as_value() {
        Some(number) => index >> (number & 0xff) == number >> 8,
        None => index == 3,
    }
}
