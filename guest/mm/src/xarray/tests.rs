//! Lookups beside changes under the model checker: interleavings of two CPUs, on a small tree with nodes of four
//! slots. Nodes that were taken out are freed for good, so a lookup that is in one too late is seen, too.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p mm --lib --release`.

extern crate std;

use super::limbo::Limbo;
use super::node::{Detached, Node, NodeList};
use super::store::Nodes;
use super::tree::{Held, Tree};
use super::{Entry, Found};
use crate::sync::SpinLock;
use crate::sync::loom_cpu::Core;
use crate::sync::rcu::{ReadGuard, read_lock, synchronize};
use core::ptr::NonNull;
use loom::sync::Arc;
use loom::thread;
use std::boxed::Box;

struct Array {
    tree: Tree,
    lock: SpinLock<Held>,
}

fn value(n: u64) -> Entry {
    Entry::value(n).unwrap()
}

/// Frees nodes as the machine would after a grace period.
fn free(mut list: NodeList) {
    while let Some(node) = list.pop() {
        // SAFETY: made by `spare` from a box, and no lookup is in it any more.
        drop(unsafe { Box::from_raw(node.as_ptr().as_ptr()) });
    }
}

fn spare(count: usize) -> NodeList {
    let mut list = NodeList::EMPTY;
    for _ in 0..count {
        // SAFETY: a box holds a whole node, and it was just made.
        list.push(unsafe { Detached::new(NonNull::from(Box::leak(Box::new(Node::empty())))) });
    }
    list
}

impl Array {
    /// An array with these orders and values at these indices.
    fn with(cpu: &Core, entries: &[(u64, u32, u64)]) -> Arc<Self> {
        let array = Self { tree: Tree::new(), lock: SpinLock::new(Held::NEW) };
        for &(index, order, n) in entries {
            array.change(cpu, |tree, held, nodes| {
                _ = tree.store(held, index, order, value(n), nodes).unwrap()
            });
        }
        Arc::new(array)
    }

    /// Changes the tree, waits for a grace period, and frees what was taken out.
    fn change(&self, cpu: &Core, change: impl FnOnce(&Tree, &Held, &mut Nodes<'_>)) {
        let mut nodes = Nodes { spare: spare(4), gone: NodeList::EMPTY, watch: None };
        change(&self.tree, &self.lock.lock(cpu), &mut nodes);
        free(nodes.spare);
        if nodes.gone.len() != 0 {
            assert!(synchronize(cpu, 2));
            free(nodes.gone);
        }
    }

    /// One change by CPU 0 beside `look` by CPU 1. The checker goes through the schedules from the lookup's side: of
    /// all reads of a word it knows the last one only, so it would not see one before a read and a write of the writer.
    /// That is why the writer is the thread that runs first.
    fn race(
        entries: &'static [(u64, u32, u64)],
        change: fn(&Tree, &Held, &mut Nodes<'_>),
        look: fn(&Tree, &ReadGuard<'_, Core>),
    ) {
        // All schedules with at most so many switches that nothing forces: with more, the loops of readers that begin
        // again take hours.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(move || {
            let mut cpus = Core::all(2).into_iter();
            let (here, there) = (cpus.next().unwrap(), cpus.next().unwrap());
            let array = Self::with(&here, entries);
            let other = {
                let array = Arc::clone(&array);
                thread::spawn(move || look(&array.tree, &read_lock(&there)))
            };
            array.change(&here, change);
            other.join().unwrap();
            array.change(&here, |tree, held, nodes| {
                tree.verify(held).unwrap();
                tree.clear(held, nodes);
            });
        });
    }
}

fn number(entry: Entry) -> Option<u64> {
    entry.as_value()
}

/// The last entry of a node goes, and the node, and the level above: the one that stays is always found.
#[test]
fn shrinking_hides_nothing() {
    Array::race(
        &[(0, 0, 7), (5, 0, 8)],
        |tree, held, nodes| assert_eq!(number(tree.erase(held, 5, nodes)), Some(8)),
        |tree, section| {
            assert!([Some(8), None].contains(&number(tree.load(section, 5))));
            assert_eq!(number(tree.load(section, 0)), Some(7));
        },
    );
}

/// Levels come on top while an entry is looked for.
#[test]
fn growth_hides_nothing() {
    Array::race(
        &[(0, 0, 7)],
        |tree, held, nodes| assert!(tree.store(held, 5, 0, value(8), nodes).is_ok()),
        |tree, section| {
            let before = number(tree.load(section, 5));
            assert_eq!(number(tree.load(section, 0)), Some(7));
            let after = number(tree.load(section, 5));
            assert!(before.is_none() || after == Some(8), "an entry does not go away again");
        },
    );
}

/// A large entry takes the place of a node with small ones.
#[test]
fn an_entry_replaces_a_node() {
    Array::race(
        &[(4, 0, 1), (5, 0, 2)],
        |tree, held, nodes| assert!(tree.store(held, 4, 2, value(9), nodes).is_ok()),
        |tree, section| {
            let first = number(tree.load(section, 5));
            assert!([Some(2), Some(9)].contains(&first));
            let second = number(tree.load(section, 5));
            assert!(first == second || second == Some(9));
        },
    );
}

/// An entry of two slots is divided, and another put there: what is found at an index is never what stood only at its
/// neighbour.
#[test]
fn siblings_are_read_with_their_entry() {
    Array::race(
        &[(2, 1, 1)],
        |tree, held, nodes| {
            tree.split(held, 2, 0, nodes).unwrap();
            assert!(tree.store(held, 2, 0, value(5), nodes).is_ok());
            assert!(tree.store(held, 2, 1, value(9), nodes).is_ok());
        },
        |tree, section| {
            let found = number(tree.load(section, 3));
            assert!([Some(1), Some(9)].contains(&found), "{found:?}");
        },
    );
}

/// Looking for the next entry while that is divided among nodes.
#[test]
fn a_search_finds_an_entry_that_is_being_divided() {
    Array::race(
        &[(4, 2, 1)],
        |tree, held, nodes| tree.split(held, 4, 1, nodes).unwrap(),
        |tree, section| {
            let found = tree.find(section, 6, 7, None);
            let whole = Found { index: 4, order: 2, entry: value(1) };
            let part = Found { index: 6, order: 1, entry: value(1) };
            assert!(found == Some(whole) || found == Some(part), "{found:?}");
        },
    );
}

/// A gap that stays is found while the entry before it goes, and nothing is taken for one that is none.
#[test]
fn gaps_are_found_beside_changes() {
    Array::race(
        &[(4, 0, 1), (6, 1, 2)],
        |tree, held, nodes| assert_eq!(number(tree.erase(held, 4, nodes)), Some(1)),
        |tree, section| {
            let gap = tree.next_gap(section, 4, 8, Entry::is_null);
            assert!([Some(4), Some(5)].contains(&gap), "{gap:?}");
            assert_eq!(tree.prev_gap(section, 5, 7, Entry::is_null), Some(5));
        },
    );
}

/// Two CPUs add while one of them takes: every node is taken once.
#[test]
fn nothing_is_lost_in_limbo() {
    loom::model(|| {
        let limbo = Arc::new(Limbo::new());
        let other = {
            let limbo = Arc::clone(&limbo);
            thread::spawn(move || limbo.append(&mut spare(2)))
        };
        limbo.append(&mut spare(1));
        let first = limbo.take();
        let mut taken = first.len();
        free(first);
        other.join().unwrap();
        let rest = limbo.take();
        taken += rest.len();
        free(rest);
        assert_eq!((taken, limbo.len()), (3, 0));
    });
}
