//! Arrays against an oracle: a map from the first index of an entry to its order, entry and marks.
//!
//! After every step all invariants are checked, and what the step said is what the oracle says. Nodes run out as the
//! steps decide; a step that fails must leave everything as it was.

use crate::xarray_fixture::{Fixture, handle, value, with_nodes};
use mm::xarray::{Cursor, Entry, Found, Mark, XArray, XaError};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    Store(u64, u32, bool, u64),
    Insert(u64, u64),
    Cmpxchg(u64, bool, u64),
    StoreRange(u64, u64, u64),
    Erase(u64),
    EraseOrder(u64, u32),
    Split(u64, u32),
    Mark(u64, usize, bool),
    Tag(u64, u64, u64),
    /// So many blocks of frames are left, and no node is in the cache.
    Memory(u64),
    Destroy,
}

/// Indices near each other, at the borders of nodes, and far away.
fn index() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0_u64..200,
        2 => 4000_u64..4200,
        1 => (0_u32..64).prop_map(|bit| 1 << bit),
        1 => (0_u32..64).prop_map(|bit| (1 << bit) - 1),
        1 => (0_u64..20).prop_map(|n| u64::MAX - n),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let order = prop_oneof![6 => Just(0_u32), 4 => 0_u32..7, 2 => 6_u32..10, 1 => 10_u32..64];
    let number = 1_u64..50;
    prop_oneof![
        12 => (index(), order.clone(), any::<bool>(), number.clone()).prop_map(|(i, o, v, n)| Op::Store(i, o, v, n)),
        2 => (index(), number.clone()).prop_map(|(i, n)| Op::Insert(i, n)),
        2 => (index(), any::<bool>(), number.clone()).prop_map(|(i, same, n)| Op::Cmpxchg(i, same, n)),
        1 => (index(), 0_u64..300, number).prop_map(|(i, len, n)| Op::StoreRange(i, len, n)),
        6 => index().prop_map(Op::Erase),
        1 => (index(), order.clone()).prop_map(|(i, o)| Op::EraseOrder(i, o)),
        4 => (index(), order).prop_map(|(i, o)| Op::Split(i, o)),
        8 => (index(), 0_usize..3, any::<bool>()).prop_map(|(i, m, set)| Op::Mark(i, m, set)),
        1 => (index(), 0_u64..500, 1_u64..6).prop_map(|(i, len, limit)| Op::Tag(i, len, limit)),
        1 => prop_oneof![Just(0_u64), Just(1), Just(u64::MAX)].prop_map(Op::Memory),
        1 => Just(Op::Destroy),
    ]
}

fn low(order: u32) -> u64 {
    (1 << order) - 1
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Item {
    order: u32,
    entry: Entry,
    marks: [bool; 3],
}

#[derive(Clone, Default, Debug)]
struct Model(BTreeMap<u64, Item>);

impl Model {
    /// The entry that stands for an index.
    fn at(&self, index: u64) -> Option<(u64, Item)> {
        let (&first, &item) = self.0.range(..=index).next_back()?;
        (index - first <= low(item.order)).then_some((first, item))
    }

    fn load(&self, index: u64) -> Entry {
        self.at(index).map_or(Entry::NULL, |(_, item)| item.entry)
    }

    /// What stands for some index in a range.
    fn within(&self, first: u64, last: u64) -> Vec<(u64, Item)> {
        let covering = self.at(first).filter(|&(start, _)| start < first);
        covering.into_iter().chain(self.0.range(first..=last).map(|(&at, &item)| (at, item))).collect()
    }

    fn store(&mut self, index: u64, order: u32, entry: Entry) {
        let (mut first, mut order) = (index & !low(order), order);
        if let Some((at, item)) = self.at(index).filter(|(_, item)| item.order > order) {
            (first, order) = (at, item.order);
        }
        let mut marks = [false; 3];
        for (at, item) in self.within(first, first | low(order)) {
            (0..3).for_each(|n| marks[n] |= item.marks[n]);
            self.0.remove(&at);
        }
        if !entry.is_null() {
            self.0.insert(first, Item { order, entry, marks });
        }
    }

    fn erase_range(&mut self, first: u64, last: u64) {
        for (at, _) in self.within(first, last) {
            self.0.remove(&at);
        }
    }

    fn split(&mut self, index: u64, order: u32) {
        let Some((first, item)) = self.at(index).filter(|(_, item)| item.order > order) else { return };
        for n in 0..1 << (item.order - order) {
            self.0.insert(first + (n << order), Item { order, ..item });
        }
    }

    fn gap(&self, first: u64, last: u64, is_gap: fn(Entry) -> bool) -> Option<u64> {
        let mut index = first;
        loop {
            if index > last {
                return None;
            }
            match self.at(index) {
                Some((first, item)) if !is_gap(item.entry) => {
                    index = (first | low(item.order)).checked_add(1)?
                }
                _ => return Some(index),
            }
        }
    }

    fn gap_before(&self, first: u64, last: u64) -> Option<u64> {
        let mut index = last;
        loop {
            if index < first {
                return None;
            }
            match self.at(index) {
                Some((first, item)) if item.entry.is_pointer() => index = first.checked_sub(1)?,
                _ => return Some(index),
            }
        }
    }
}

/// How the range of the store splits into aligned parts.
fn parts(first: u64, last: u64) -> Vec<(u64, u32)> {
    let (mut at, mut parts) = (first, Vec::new());
    loop {
        let order = (0..64).rev().find(|&o| at & low(o) == 0 && last - at >= low(o)).unwrap();
        parts.push((at, order));
        match (at | low(order)).checked_add(1) {
            Some(next) if next <= last => at = next,
            _ => return parts,
        }
    }
}

struct Run<'a> {
    fixture: &'a Fixture<'a, 'a>,
    array: XArray,
    model: Model,
}

impl Run<'_> {
    /// What succeeded happens to the model as well.
    fn then<R>(&mut self, result: Result<R, XaError>, change: impl FnOnce(&mut Model, R)) {
        match result {
            Ok(result) => change(&mut self.model, result),
            Err(error) => assert_eq!((error, self.fixture.frames.left.get()), (XaError::NoMemory, 0)),
        }
    }

    fn step(&mut self, op: &Op) {
        let (fixture, source) = (self.fixture, self.fixture.source());
        match *op {
            Op::Store(index, order, is_value, n) => {
                let entry = if is_value { value(n) } else { handle(n) };
                let result = match order {
                    0 => self.array.store(&source, index, entry),
                    _ => self.array.store_order(&source, index, order, entry),
                };
                self.then(result, |model, old| {
                    assert_eq!(old, model.load(index));
                    model.store(index, order, entry);
                });
            }
            Op::Insert(index, n) => match self.array.insert(&source, index, handle(n)) {
                Err(XaError::Busy) => assert!(!self.model.load(index).is_null()),
                result => self.then(result, |model, ()| {
                    assert!(model.load(index).is_null());
                    model.store(index, 0, handle(n));
                }),
            },
            Op::Cmpxchg(index, same, n) => {
                let old = if same { self.model.load(index) } else { handle(1000) };
                let result = self.array.cmpxchg(&source, index, old, value(n));
                self.then(result, |model, found| {
                    assert_eq!(found, model.load(index));
                    if found == old {
                        model.store(index, 0, value(n));
                    }
                });
            }
            Op::StoreRange(first, len, n) => {
                let last = first.saturating_add(len);
                let result = self.array.store_range(&source, first, last, value(n));
                self.then(result, |model, ()| {
                    parts(first, last).into_iter().for_each(|(at, order)| model.store(at, order, value(n)));
                });
            }
            Op::Erase(index) => {
                assert_eq!(self.array.erase(&fixture.nodes, index), self.model.load(index));
                self.model.store(index, 0, Entry::NULL);
            }
            Op::EraseOrder(index, order) => {
                let result = self.array.store_order(&source, index, order, Entry::NULL);
                assert_eq!(result, Ok(self.model.load(index)));
                self.model.erase_range(index & !low(order), index | low(order));
            }
            Op::Split(index, order) => match self.array.split(&source, index, order) {
                Err(XaError::TooLarge) => {
                    let from = self.model.at(index).unwrap().1.order;
                    assert!(from / 6 > order / 6 + 1);
                }
                result => self.then(result, |model, ()| model.split(index, order)),
            },
            Op::Mark(index, mark, set) => {
                if set {
                    self.array.set_mark(fixture.cpu(), index, Mark::ALL[mark]);
                } else {
                    self.array.clear_mark(fixture.cpu(), index, Mark::ALL[mark]);
                }
                if let Some((first, _)) = self.model.at(index) {
                    self.model.0.get_mut(&first).unwrap().marks[mark] = set;
                }
            }
            Op::Tag(first, len, limit) => self.tag(first, first.saturating_add(len), limit),
            Op::Memory(left) => fixture.frames.left.set(left),
            Op::Destroy => {
                self.array.destroy(&fixture.nodes);
                self.model.0.clear();
            }
        }
    }

    fn tag(&mut self, first: u64, last: u64, limit: u64) {
        let found =
            self.array.lock(self.fixture.cpu()).tag_range(first, last, Mark::Dirty, Mark::Towrite, limit);
        let dirty: Vec<_> =
            self.model.within(first, last).into_iter().filter(|(_, item)| item.marks[0]).collect();
        let done = dirty.len().min(limit as usize);
        assert_eq!(found, (done as u64, dirty.get(done).map(|&(at, _)| at.max(first))));
        for (at, _) in &dirty[..done] {
            self.model.0.get_mut(at).unwrap().marks[2] = true;
        }
    }

    /// Everything is as the model says, around `index`, and in whole.
    fn check(&self, index: u64) {
        let census = self.array.verify(self.fixture.cpu()).unwrap();
        assert_eq!(census.entries, self.model.0.len());
        assert_eq!(census.values, self.model.0.values().filter(|item| item.entry.is_value()).count());
        assert_eq!(census.nodes as u64 + self.fixture.nodes.waiting(), self.fixture.nodes_in_use());
        let section = self.fixture.section();
        for (n, mark) in Mark::ALL.into_iter().enumerate() {
            let marked = self.model.0.values().filter(|item| item.marks[n]).count();
            assert_eq!((census.marked[n], self.array.is_marked(mark)), (marked, marked != 0));
            let has = self.model.at(index).is_some_and(|(_, item)| item.marks[n]);
            assert_eq!(self.array.has_mark(&section, index, mark), has);
            let next = self.model.within(index, u64::MAX).into_iter().find(|(_, item)| item.marks[n]);
            let found = self.array.find(&section, index, u64::MAX, Some(mark));
            assert_eq!(found.map(|found| found.index), next.map(|(at, _)| at));
        }
        for near in [index, index.saturating_sub(1), index.saturating_add(1), index ^ 64] {
            assert_eq!(self.array.load(&section, near), self.model.load(near));
            assert_eq!(
                self.array.order_at(&section, near),
                self.model.at(near).map_or(0, |(_, item)| item.order)
            );
        }
        let last = index.saturating_add(300);
        assert_eq!(self.array.next_hole(&section, index, last), self.model.gap(index, last, Entry::is_null));
        let mut cursor = Cursor::new(index, last);
        let found = std::iter::from_fn(|| cursor.next(&self.array, &section));
        let one_by_one: Vec<_> = found.map(|found| (found.index.max(index), found.entry)).collect();
        let in_a_row: Vec<_> = self.array.entries(&section, index, last).collect();
        let is_last = |(at, _): &&(u64, Entry)| *at == u64::MAX;
        assert_eq!(in_a_row, one_by_one[..one_by_one.len() - one_by_one.iter().filter(is_last).count()]);
        let miss = self.model.gap(index, last, |entry| !entry.is_pointer());
        assert_eq!(self.array.next_miss(&section, index, last), miss);
        let before = index.saturating_sub(300);
        assert_eq!(self.array.prev_miss(&section, before, index), self.model.gap_before(before, index));
    }

    /// All entries, in order.
    fn compare(&self) {
        let (section, mut cursor, mut found) = (self.fixture.section(), Cursor::new(0, u64::MAX), Vec::new());
        while let Some(next) = cursor.next(&self.array, &section) {
            found.push(next);
        }
        let all =
            self.model.0.iter().map(|(&index, item)| Found { index, order: item.order, entry: item.entry });
        assert_eq!(found, all.collect::<Vec<_>>());
    }
}

const fn index_of(op: &Op) -> u64 {
    match *op {
        Op::Store(index, ..)
        | Op::Insert(index, _)
        | Op::Cmpxchg(index, ..)
        | Op::StoreRange(index, ..)
        | Op::Erase(index)
        | Op::EraseOrder(index, _)
        | Op::Split(index, _)
        | Op::Mark(index, ..)
        | Op::Tag(index, ..) => index,
        Op::Memory(_) | Op::Destroy => 0,
    }
}

/// Many cases on one machine: what is left over from one shows as a lost node.
#[test]
fn arrays_agree_with_the_oracle() {
    with_nodes(|fixture| {
        let config = ProptestConfig { cases: 10_000, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        runner
            .run(&prop::collection::vec(op(), 1..40), |ops| {
                fixture.frames.left.set(u64::MAX);
                let mut run = Run { fixture, array: XArray::new(), model: Model::default() };
                for op in &ops {
                    run.step(op);
                    run.check(index_of(op));
                }
                run.compare();
                run.array.destroy(&fixture.nodes);
                assert!(run.array.is_empty());
                Ok(())
            })
            .unwrap();
    });
}
