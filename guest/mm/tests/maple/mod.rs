//! The tree of page ranges, on a simulated machine's slab allocator.

mod basic;
mod fail;
mod model;

use crate::board::{Board, MIB};
use crate::slab_fixture::{GFP, board, config, frames, slabs};
use mm::maple::{ChangeError, Entry, MapleTree, Nodes, Spare};
use mm::phys::ZoneAllocator;
use mm::slab::Slabs;
use sim::Machine;
use std::ops::Range;
use std::ptr::NonNull;

/// Trees carry pointers that nobody follows; here they are numbers.
type Tree<'b> = MapleTree<'b, u8>;

fn value(n: usize) -> NonNull<u8> {
    NonNull::without_provenance(std::num::NonZero::new(n + 1).unwrap())
}

fn number(value: NonNull<u8>) -> usize {
    value.addr().get() - 1
}

fn plain(entry: Entry<u8>) -> (Range<u64>, usize) {
    (entry.range(), number(entry.value))
}

/// What nodes come from.
struct World<'a, 'b> {
    board: &'b Board,
    slabs: &'a Slabs<'b, Machine>,
    nodes: Nodes<'a, 'b, Machine>,
}

impl<'a, 'b> World<'a, 'b> {
    fn frames(&self) -> ZoneAllocator<'b, Machine> {
        frames(self.board)
    }

    fn spare(&self, count: usize) -> Spare<'a, 'b, Machine> {
        let mut spare = self.nodes.spare();
        spare.reserve(count, &self.frames(), GFP).unwrap();
        spare
    }

    /// Nodes that are in use.
    fn active(&self) -> u64 {
        self.slabs.find("maple_node").unwrap().stats().active_objects
    }

    fn insert(&self, tree: &mut Tree<'b>, range: Range<u64>, n: usize) -> Result<(), ChangeError> {
        tree.insert(range, value(n), &mut self.spare(tree.nodes_for(1)))
    }

    fn remove(&self, tree: &mut Tree<'b>, first: u64) -> Option<(Range<u64>, usize)> {
        tree.remove(first, &mut self.nodes.spare()).map(plain)
    }

    /// A tree of `count` ranges of two pages, four pages from one start to the next, put in as `order` says.
    fn tree(&self, order: impl Iterator<Item = usize>) -> Tree<'b> {
        let mut tree = Tree::new();
        for n in order {
            self.insert(&mut tree, n as u64 * 4..n as u64 * 4 + 2, n).unwrap();
        }
        tree
    }

    /// Checks a tree, and that there are no nodes but its own.
    fn check(&self, tree: &Tree<'_>) {
        let census = tree.verify().unwrap();
        assert_eq!(census.ranges, tree.len());
        assert_eq!(self.active(), census.nodes as u64);
    }

    /// Takes the tree apart.
    fn end(&self, mut tree: Tree<'b>) {
        self.check(&tree);
        tree.clear(&mut self.nodes.spare());
        assert_eq!((tree.len(), tree.height(), self.active()), (0, 0, 0));
        self.slabs.verify().unwrap();
    }
}

fn with_world(test: impl FnOnce(&World<'_, '_>)) {
    let board = board(16 * MIB, 1);
    let slabs = slabs(&board, &config(1, 1));
    let nodes = Nodes::new(&slabs, &frames(&board)).unwrap();
    test(&World { board: &board, slabs: &slabs, nodes });
    assert!(crate::slab_fixture::reports().is_empty());
}

/// All ranges of a tree.
fn all(tree: &Tree<'_>) -> Vec<(Range<u64>, usize)> {
    tree.iter(0..u64::MAX).map(plain).collect()
}
