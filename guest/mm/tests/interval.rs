//! The areas of a file by page: random changes against a list; what is asked for is found, and little else is looked at.

use mm::port::Machine as _;
use mm::rmap::{AreaLink, AreaTree};
use proptest::prelude::*;
use sim::Machine;
use std::ptr::NonNull;

/// Pages that areas lie in.
const PAGES: u64 = 512;

/// An area: which pages of the file it shows, and where it begins in its context, whose number is its own here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Area {
    pgoff: u64,
    pages: u64,
    mm: u32,
    start: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64),
    Remove(usize),
    /// Another range.
    Change(usize, u64, u64),
    /// The same first page, so many pages.
    Resize(usize, u64),
    Look(u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let (at, pages) = (0..PAGES, prop_oneof![4 => 1_u64..5, 1 => 1_u64..PAGES]);
    prop_oneof![
        6 => (at.clone(), pages.clone()).prop_map(|(at, pages)| Op::Insert(at, pages)),
        4 => any::<usize>().prop_map(Op::Remove),
        2 => (any::<usize>(), at.clone(), pages.clone()).prop_map(|(n, at, pages)| Op::Change(n, at, pages)),
        2 => (any::<usize>(), pages.clone()).prop_map(|(n, pages)| Op::Resize(n, pages)),
        5 => (at, pages).prop_map(|(at, pages)| Op::Look(at, pages)),
    ]
}

/// Links stay where they are, so each is a box of its own.
struct World {
    machine: Machine,
    tree: Box<AreaTree>,
    areas: Vec<(Box<AreaLink>, Area)>,
    /// How many there were so far: each has a number of its own.
    made: u32,
}

impl World {
    fn new() -> Self {
        Self {
            machine: Machine::builder().build(),
            tree: Box::new(AreaTree::new()),
            areas: Vec::new(),
            made: 0,
        }
    }

    fn insert(&mut self, pgoff: u64, pages: u64) {
        let (mm, start) = (self.made, 1000 + 7 * pgoff);
        self.made += 1;
        let link = Box::new(AreaLink::new(mm, start, start + pages, pgoff));
        // SAFETY: the tree and the link are boxes, and the link leaves the tree before either goes.
        unsafe { link.attach(self.machine.cpu(), NonNull::from(&*self.tree)) };
        self.areas.push((link, Area { pgoff, pages, mm, start }));
    }

    fn remove(&mut self, n: usize) {
        if !self.areas.is_empty() {
            let (link, _) = self.areas.swap_remove(n % self.areas.len());
            link.detach(self.machine.cpu());
        }
    }

    fn change(&mut self, n: usize, pgoff: Option<u64>, pages: u64) {
        let count = self.areas.len().max(1);
        let Some((link, area)) = self.areas.get_mut(n % count) else { return };
        area.pgoff = pgoff.unwrap_or(area.pgoff);
        area.pages = pages;
        link.set_range(self.machine.cpu(), area.start, area.start + pages, area.pgoff);
    }

    /// What the tree shows of a range, and what it should: context, first page there, pages.
    fn look(&self, first: u64, pages: u64) {
        let mut seen = Vec::new();
        let mut order = Vec::new();
        self.tree.each(self.machine.cpu(), first, pages, |mm, at, count| {
            order.push(self.areas.iter().find(|(_, area)| area.mm == mm).unwrap().1.pgoff);
            seen.push((mm, at, count));
        });
        assert!(order.is_sorted());
        let shown = self.areas.iter().filter_map(|(_, area)| {
            let (from, to) = (area.pgoff.max(first), (area.pgoff + area.pages).min(first + pages));
            (from < to).then(|| (area.mm, area.start + (from - area.pgoff), to - from))
        });
        let mut shown: Vec<_> = shown.collect();
        seen.sort_unstable();
        shown.sort_unstable();
        assert_eq!(seen, shown, "pages {first}..{}", first + pages);
    }

    fn check(&self) -> u32 {
        assert_eq!(self.tree.len(self.machine.cpu()) as usize, self.areas.len());
        self.tree.verify(self.machine.cpu()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.areas.iter().for_each(|(link, _)| link.detach(self.machine.cpu()));
    }
}

proptest! {
    #[test]
    fn the_areas_that_show_a_page_are_found(ops in prop::collection::vec(op(), 1..200)) {
        let mut world = World::new();
        for op in ops {
            match op {
                Op::Insert(at, pages) => world.insert(at, pages),
                Op::Remove(n) => world.remove(n),
                Op::Change(n, at, pages) => world.change(n, Some(at), pages),
                Op::Resize(n, pages) => world.change(n, None, pages),
                Op::Look(at, pages) => world.look(at, pages),
            }
            world.check();
        }
        world.look(0, 2 * PAGES);
    }
}

#[test]
fn very_many_areas_are_a_flat_tree_in_whatever_order_they_came() {
    const COUNT: u64 = 1 << 14;
    for step in [1, COUNT - 1, 12_345] {
        let mut world = World::new();
        (0..COUNT).for_each(|n| world.insert(n * step % COUNT * 2, 1));
        let height = world.check();
        assert!(height <= 48, "{height} links above each other");
        (0..COUNT * 2).step_by(997).for_each(|page| world.look(page, 1));
        (0..COUNT - 64).for_each(|n| world.remove((n * 77) as usize));
        assert!(world.check() <= 24);
        world.look(0, 2 * COUNT);
    }
}
