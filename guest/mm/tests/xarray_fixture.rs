//! Arrays on a board, and what tests of them need: a supply of nodes that can fail, and a count of those in use.

use crate::board::{Board, MIB};
use crate::slab_fixture::{Flaky, GFP, board, config, frames, give, slabs};
use mm::port::Machine as _;
use mm::slab::Slabs;
use mm::sync::rcu::{ReadGuard, read_lock};
use mm::vmstat::VmStat;
use mm::xarray::{Entry, NodeCache, Source, XArray};
use sim::{Cpus, Machine};

pub const CPUS: u32 = 3;

/// A machine with nodes.
pub fn with_nodes(run: impl FnOnce(&Fixture<'_, '_>)) {
    let board = board(32 * MIB, CPUS);
    let slabs = slabs(&board, &config(CPUS, 3));
    let stat = VmStat::new();
    let nodes = NodeCache::new(&slabs, &stat, &frames(&board)).unwrap();
    let fixture =
        Fixture { frames: Flaky::new(&board, u64::MAX), board: &board, slabs: &slabs, stat: &stat, nodes };
    run(&fixture);
    fixture.nodes.settle();
    assert_eq!(fixture.nodes_in_use(), 0, "a node was lost");
    slabs.verify().unwrap();
}

pub struct Fixture<'s, 'b> {
    pub board: &'b Board,
    pub slabs: &'s Slabs<'b, Machine>,
    pub stat: &'s VmStat,
    pub nodes: NodeCache<'s, 'b, Machine>,
    pub frames: Flaky<'b>,
}

impl<'s, 'b> Fixture<'s, 'b> {
    pub fn source(&self) -> Source<'_, 's, 'b, Machine, Flaky<'b>> {
        self.nodes.with(&self.frames, GFP)
    }

    pub fn cpu(&self) -> &Cpus {
        self.board.machine().cpu()
    }

    pub fn section(&self) -> ReadGuard<'_, Cpus> {
        read_lock(self.cpu())
    }

    /// Nodes that the slab cache has given out.
    pub fn nodes_in_use(&self) -> u64 {
        self.slabs.find("radix_tree_node").unwrap().stats().active_objects
    }

    /// Runs `run` while there are so many nodes and no memory for others.
    pub fn with_nodes_left<R>(&self, left: usize, run: impl FnOnce() -> R) -> R {
        let cache = self.slabs.find("radix_tree_node").unwrap();
        let alloc = || self.slabs.alloc(cache, &self.frames, GFP);
        let mut held: Vec<_> = (0..left).map(|_| alloc().unwrap()).collect();
        self.frames.left.set(0);
        held.extend(std::iter::from_fn(|| alloc().ok()));
        held.drain(..left).for_each(|node| give(self.slabs, cache, node).unwrap());
        let result = run();
        held.into_iter().for_each(|node| give(self.slabs, cache, node).unwrap());
        self.frames.left.set(u64::MAX);
        result
    }

    pub fn store(&self, array: &XArray, index: u64, entry: Entry) -> Entry {
        array.store(&self.source(), index, entry).unwrap()
    }

    /// Stores so many entries from `first` on, each with its index plus 1 as its handle.
    pub fn fill(&self, array: &XArray, first: u64, count: u64) {
        for index in first..first + count {
            assert!(self.store(array, index, handle(index + 1)).is_null());
        }
    }
}

pub fn handle(number: u64) -> Entry {
    Entry::handle(number).unwrap()
}

pub fn value(number: u64) -> Entry {
    Entry::value(number).unwrap()
}
