//! Random changes against a sorted map; every invariant is checked after each.

use super::*;
use mm::maple::LIMIT;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;

/// Pages that are used, from the base of a case.
const PAGES: u64 = 1024;

#[derive(Clone, Debug)]
enum Op {
    /// Puts a range in, with all nodes that may be needed, or with none.
    Insert(u64, u64, bool),
    /// Takes one of those held out.
    Remove(usize),
    /// Moves the bounds of one by so much.
    Bounds(usize, i64, i64),
    /// Takes all out of a window: what reaches over its ends is cut.
    Carve(u64, u64),
    /// Puts so many in and takes as many out, with nodes for the whole of it.
    Many(u64, u64),
    Gap {
        start: u64,
        pages: u64,
        wanted: u64,
        align: u32,
    },
    Look(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let page = 0..PAGES;
    prop_oneof![
        6 => (page.clone(), 1_u64..12, any::<bool>()).prop_map(|(at, pages, all)| Op::Insert(at, pages, all)),
        5 => any::<usize>().prop_map(Op::Remove),
        4 => (any::<usize>(), -5_i64..6, -5_i64..6).prop_map(|(n, first, end)| Op::Bounds(n, first, end)),
        1 => (page.clone(), 1_u64..90).prop_map(|(at, pages)| Op::Carve(at, pages)),
        1 => (page.clone(), 1_u64..14).prop_map(|(at, count)| Op::Many(at, count)),
        4 => (page.clone(), 0_u64..700, 1_u64..14, 0_u32..5)
            .prop_map(|(start, pages, wanted, align)| Op::Gap { start, pages, wanted, align }),
        2 => page.prop_map(Op::Look),
    ]
}

struct Model<'w, 'a, 'b> {
    world: &'w World<'a, 'b>,
    tree: Tree<'b>,
    /// End and value by first page.
    ranges: BTreeMap<u64, (u64, usize)>,
    base: u64,
    values: usize,
}

fn entry((first, (end, n)): (&u64, &(u64, usize))) -> (Range<u64>, usize) {
    (*first..*end, *n)
}

impl<'b> Model<'_, '_, 'b> {
    fn is_free(&self, range: &Range<u64>) -> bool {
        self.ranges.range(..range.end).next_back().is_none_or(|(_, (end, _))| *end <= range.start)
    }

    fn nth(&self, n: usize) -> Option<Range<u64>> {
        let n = n % self.ranges.len().max(1);
        self.ranges.iter().nth(n).map(|found| entry(found).0)
    }

    fn insert(&mut self, range: Range<u64>, spare: &mut Spare<'_, 'b, Machine>) {
        self.values += 1;
        let expected = if range.end > LIMIT {
            Err(ChangeError::Invalid)
        } else if self.is_free(&range) {
            Ok(())
        } else {
            Err(ChangeError::Overlap)
        };
        let result = self.tree.insert(range.clone(), value(self.values), spare);
        if result == Err(ChangeError::NoNodes) {
            assert!(expected.is_ok() && spare.is_empty());
            return;
        }
        assert_eq!(result, expected);
        if result.is_ok() {
            self.ranges.insert(range.start, (range.end, self.values));
        }
    }

    fn remove(&mut self, first: u64, spare: &mut Spare<'_, 'b, Machine>) {
        let expected = self.ranges.remove(&first).map(|(end, n)| (first..end, n));
        assert_eq!(self.tree.remove(first, spare).map(plain), expected);
    }

    fn set_bounds(&mut self, old: &Range<u64>, new: Range<u64>) {
        let result = self.tree.set_bounds(old.start, new.clone());
        let held = self.ranges.remove(&old.start).unwrap();
        // Free and between the same two is what it has to be.
        let hull = new.start.min(old.start)..new.end.max(old.end);
        let expected = if new.is_empty() || new.end > LIMIT {
            Err(ChangeError::Invalid)
        } else if self.is_free(&hull) {
            Ok(())
        } else {
            Err(ChangeError::Overlap)
        };
        assert_eq!(result, expected);
        let (first, end) = if result.is_ok() { (new.start, new.end) } else { (old.start, held.0) };
        self.ranges.insert(first, (end, held.1));
    }

    fn carve(&mut self, window: Range<u64>) {
        let mut spare = self.world.spare(self.tree.nodes_for(2));
        let inside: Vec<_> = self.tree.iter(window.clone()).map(|entry| entry.range()).collect();
        for range in inside {
            let (low, high) = (range.start..window.start, window.end..range.end);
            match (low.is_empty(), high.is_empty()) {
                (true, true) => self.remove(range.start, &mut spare),
                (true, false) => self.set_bounds(&range, high),
                (false, true) => self.set_bounds(&range, low),
                (false, false) => {
                    self.set_bounds(&range, low);
                    self.insert(high, &mut spare);
                }
            }
        }
        assert!(self.is_free(&window));
        assert_eq!(self.tree.iter(window).count(), 0);
    }

    fn many(&mut self, at: u64, count: u64) {
        let mut spare = self.world.spare(self.tree.nodes_for(count as usize));
        for n in 0..count {
            self.insert(at + n..at + n + 1, &mut spare);
            if let Some(range) = self.nth(n as usize * 31) {
                self.remove(range.start, &mut spare);
            }
        }
    }

    /// The best place, found by looking at every gap and every page.
    fn gap(&self, window: &Range<u64>, pages: u64, align: u64, is_highest: bool) -> Option<u64> {
        let mut start = 0;
        let mut gaps = Vec::new();
        for (first, end) in self.ranges.iter().map(|(first, (end, _))| (*first, *end)).chain([(LIMIT, 0)]) {
            let gap = window.start.max(start)..window.end.min(first);
            if !gap.is_empty() && gap.end - gap.start >= pages {
                gaps.push(gap);
            }
            start = end;
        }
        if is_highest {
            gaps.reverse();
        }
        let fit = |gap: &Range<u64>| {
            let mut places = gap.start..=gap.end - pages;
            let is_right = |at: &u64| at.is_multiple_of(align);
            if is_highest { places.rev().find(is_right) } else { places.find(is_right) }
        };
        let roomy = gaps.iter().filter(|gap| gap.end - gap.start >= pages + align - 1).find_map(fit);
        roomy.or_else(|| gaps.iter().find_map(fit))
    }

    fn look(&self, page: u64) {
        let below = self.ranges.range(..=page).next_back().map(entry);
        let around = below.filter(|(range, _)| range.contains(&page));
        let after = self.ranges.range(page + 1..).next().map(entry);
        assert_eq!(self.tree.find(page).map(plain), around);
        assert_eq!(self.tree.next_from(page).map(plain), around.clone().or(after));
        let before = self.ranges.iter().map(entry).rfind(|(range, _)| range.end <= page);
        assert_eq!(self.tree.prev(page).map(plain), before);
        let window = page..page + 40;
        let reaching = self
            .ranges
            .iter()
            .map(entry)
            .filter(|(range, _)| range.start < window.end && range.end > window.start);
        assert_eq!(
            self.tree.iter(window.clone()).map(plain).collect::<Vec<_>>(),
            reaching.collect::<Vec<_>>()
        );
    }

    fn step(&mut self, op: &Op) {
        let base = self.base;
        match *op {
            Op::Insert(at, pages, all) => {
                let count = if all { self.tree.nodes_for(1) } else { 0 };
                let mut spare = self.world.spare(count);
                self.insert(base + at..base + at + pages, &mut spare);
            }
            Op::Remove(n) => {
                if let Some(range) = self.nth(n) {
                    self.remove(range.start, &mut self.world.nodes.spare());
                }
            }
            Op::Bounds(n, first, end) => {
                if let Some(range) = self.nth(n) {
                    let new = range.start.saturating_add_signed(first)..range.end.saturating_add_signed(end);
                    self.set_bounds(&range, new);
                }
            }
            Op::Carve(at, pages) => self.carve(base + at..base + at + pages),
            Op::Many(at, count) => self.many(base + at, count),
            Op::Gap { start, pages, wanted, align } => {
                let (window, align) = (base + start..base + start + pages, 1 << align);
                let tree = &self.tree;
                let found = tree.highest_gap(window.clone(), wanted, align);
                assert_eq!(found, self.gap(&window, wanted, align, true));
                let found = tree.lowest_gap(window.clone(), wanted, align);
                assert_eq!(found, self.gap(&window, wanted, align, false));
            }
            Op::Look(page) => self.look(base + page),
        }
    }
}

/// A case: ranges to begin with, from a seed, then steps.
fn run(world: &World<'_, '_>, is_high: bool, count: usize, seed: u64, ops: &[Op]) {
    let base = if is_high { LIMIT - PAGES } else { 0 };
    let mut model = Model { world, tree: Tree::new(), ranges: BTreeMap::new(), base, values: 0 };
    let mut state = seed | 1;
    let mut spare = world.spare(2 * count);
    for _ in 0..count {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let (at, pages) = ((state >> 33) % PAGES, 1 + (state >> 60) % 6);
        model.insert(base + at..base + at + pages, &mut spare);
    }
    drop(spare);
    for op in ops {
        model.step(op);
        assert_eq!(model.tree.len(), model.ranges.len());
        world.check(&model.tree);
    }
    assert!(all(&model.tree).into_iter().eq(model.ranges.iter().map(entry)));
    world.end(model.tree);
}

#[test]
fn the_tree_agrees_with_a_sorted_map() {
    let config = ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() };
    let case = (any::<bool>(), 0_usize..200, any::<u64>(), prop::collection::vec(op(), 1..24));
    with_world(|world| {
        let result = TestRunner::new(config).run(&case, |(is_high, count, seed, ops)| {
            run(world, is_high, count, seed, &ops);
            Ok(())
        });
        result.unwrap();
    });
}
