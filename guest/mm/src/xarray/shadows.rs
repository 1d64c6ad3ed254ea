//! Nodes that hold nothing but values: shadows of pages that went, which nobody needs (Linux `mm/workingset.c`,
//! `shadow_lru_isolate`).
//!
//! Owns: the lists of such nodes, one for each node of the machine, oldest first; how many may stay; giving the others
//! back. Stays outside: when that is asked for. Invariants: a node is on the list of where its memory is exactly while
//! it is in a tree, its array is watched, and all it has are values; it comes and goes under the lock of its array, and
//! the lock of the list is taken inside of that. Whoever holds the lock of the list may therefore follow a node on it
//! to its array, but can only try to lock that. Shared memory, whose values are what it has in swap, is not watched.

use super::node::Node;
use super::store::Watch;
use super::supply::{NodeCache, Stock};
use super::{Locked, XArray};
use crate::addr::NodeId;
use crate::mutant::planted;
use crate::port::{Cpu, Machine};
use crate::shrinker::{Shrink, ShrinkControl};
use crate::sync::SpinLock;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};
use crate::vmstat::NodeStat;
use core::ptr::{NonNull, null_mut};

/// So many pages of memory are worth a node: with an eighth of its slots in use, a node for every eight pages tells of as
/// many pages as there are.
const PAGES_PER_NODE: u64 = 8;

/// Changes under its lock, which is why it can be atomic at no cost.
struct List {
    first: AtomicPtr<Node>,
    last: AtomicPtr<Node>,
}

impl List {
    /// Adds a node at the end.
    fn push(&self, node: &Node) {
        let (me, last) = (core::ptr::from_ref(node).cast_mut(), self.last.load(Relaxed));
        node.before.store(last, Relaxed);
        node.link.store(null_mut(), Relaxed);
        // SAFETY: a node on a list is whole, and leaves the list before it goes.
        match unsafe { last.as_ref() } {
            Some(last) => last.link.store(me, Relaxed),
            None => self.first.store(me, Relaxed),
        }
        self.last.store(me, Relaxed);
    }

    /// Takes a node out that is on it.
    fn remove(&self, node: &Node) {
        let (before, next) = (node.before.load(Relaxed), node.link.load(Relaxed));
        // SAFETY: as above, for both neighbours.
        let (left, right) = unsafe { (before.as_ref(), next.as_ref()) };
        left.map_or(&self.first, |left| &left.link).store(next, Relaxed);
        right.map_or(&self.last, |right| &right.before).store(before, Relaxed);
    }
}

/// The list of one node of the machine.
struct Shadows {
    list: SpinLock<List>,
    count: AtomicU64,
}

impl Shadows {
    const fn new() -> Self {
        Self {
            list: SpinLock::new(List { first: AtomicPtr::new(null_mut()), last: AtomicPtr::new(null_mut()) }),
            count: AtomicU64::new(0),
        }
    }
}

/// See the module documentation.
pub(super) struct ShadowLists([Shadows; NodeId::MAX_NODES]);

impl ShadowLists {
    pub(super) const fn new() -> Self {
        Self([const { Shadows::new() }; NodeId::MAX_NODES])
    }

    fn of(&self, node: NodeId) -> Option<&Shadows> {
        self.0.get(node.index())
    }
}

impl XArray {
    /// From now on nodes of this array that hold nothing but values may be given back with all of them.
    ///
    /// # Safety
    /// The array does not move as long as something is in it, and has all its nodes from one [`NodeCache`].
    pub unsafe fn watch(&self) {
        self.tree().home.store(core::ptr::from_ref(self).cast_mut().cast(), Relaxed);
    }
}

/// What came of a look at the oldest node.
enum Isolated {
    Gone,
    Busy,
    Empty,
}

impl<M: Machine> NodeCache<'_, '_, M> {
    /// How many nodes of arrays that are watched, with their memory on `node`, have nothing but values.
    #[must_use]
    pub fn shadow_nodes(&self, node: NodeId) -> u64 {
        self.shadows.of(node).map_or(0, |shadows| shadows.count.load(Relaxed))
    }

    /// Puts a node on its list or takes it from there.
    fn relist(&self, node: &Node, home: *mut ()) {
        let id = self.slabs.node_of(NonNull::from(node).cast()).unwrap_or(NodeId::ZERO);
        let Some(shadows) = self.shadows.of(id) else { return };
        let (cpu, is_coming) = (self.machine().cpu(), !home.is_null());
        let list = shadows.list.lock(cpu);
        node.home.store(home, Relaxed);
        node.set_listed(is_coming);
        if is_coming {
            list.push(node);
            shadows.count.fetch_add(1, Relaxed);
            self.stat.grow(cpu, id, NodeStat::WorkingsetNodes, 1);
        } else {
            list.remove(node);
            shadows.count.fetch_sub(1, Relaxed);
            self.stat.shrink(cpu, id, NodeStat::WorkingsetNodes, 1);
        }
    }

    /// Takes the oldest node of a list out of its array.
    fn isolate(&self, shadows: &Shadows, stock: &mut Stock<'_, '_, '_, M>) -> Isolated {
        let cpu = self.machine().cpu();
        let list = shadows.list.lock(cpu);
        // SAFETY: a node that is on the list is in its array, and leaves the list first.
        let Some(node) = (unsafe { list.first.load(Relaxed).as_ref() }) else { return Isolated::Empty };
        // SAFETY: the array was watched, so it is still where it was, and it stays until it is empty. That it cannot
        // become without the lock of the list, which we hold, and from then on not without its own.
        let array = unsafe { node.home.load(Relaxed).cast::<XArray>().as_ref() };
        let Some(mut array): Option<Locked<'_, M::Cpu>> = array.and_then(|array| array.try_lock(cpu)) else {
            return Isolated::Busy;
        };
        drop(list);
        array.delete(node, stock);
        Isolated::Gone
    }
}

impl<M: Machine> Watch for NodeCache<'_, '_, M> {
    fn list(&self, node: &Node, home: NonNull<()>) {
        self.relist(node, home.as_ptr());
    }

    fn unlist(&self, node: &Node) {
        self.relist(node, null_mut());
    }
}

impl<M: Machine> Shrink for NodeCache<'_, '_, M> {
    /// Those above what may stay (Linux `count_shadow_nodes`).
    fn count_objects(&self, control: &ShrinkControl) -> u64 {
        let pages = self.slabs.phys().node(control.node).map_or(0, crate::phys::Node::present_pages);
        self.shadow_nodes(control.node).saturating_sub(pages / PAGES_PER_NODE)
    }

    fn scan_objects(&self, control: &mut ShrinkControl) -> Option<u64> {
        let (shadows, cpu) = (self.shadows.of(control.node)?, self.machine().cpu());
        let (mut stock, mut gone) = (self.stock(), 0);
        for _ in 0..control.nr_to_scan {
            match self.isolate(shadows, &mut stock) {
                Isolated::Gone => gone += 1,
                Isolated::Busy => cpu.relax(),
                Isolated::Empty => break,
            }
        }
        if !planted("xarray_shadows.gone_are_not_counted") {
            self.stat.grow(cpu, control.node, NodeStat::WorkingsetNodereclaim, gone);
        }
        drop(stock);
        self.settle();
        Some(gone)
    }
}
