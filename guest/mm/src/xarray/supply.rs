//! Nodes from and to the slab cache `radix_tree_node`.
//!
//! Owns: the cache, and nodes that wait for the end of a grace period. Stays outside: which node is where.
//! Invariants: a node that was in a tree goes back only after every read section that was there when it was taken out
//! has ended; nodes in the cache are empty, so that one is ready for use as it comes. Source: Linux `lib/radix-tree.c`
//! (`radix_tree_node_cachep`), which hands freed nodes to RCU.
//!
//! A grace period costs a call to every CPU, so nodes wait until there are many, or until memory is short.

use super::limbo::Limbo;
use super::node::{Detached, Node, NodeList};
use super::shadows::ShadowLists;
use super::store::Nodes;
use super::{Short, XaError};
use crate::mutant::planted;
use crate::phys::{FrameAllocator, GfpFlags};
use crate::port::{Cpu, Machine};
use crate::slab::{Cache, CacheRequest, CreateError, SlabFlags, Slabs};
use crate::sync::rcu;
use crate::vmstat::VmStat;
use core::ptr::NonNull;

/// So many nodes wait at most while somebody who may wait comes by.
const BATCH: u64 = 64;

/// The supply of nodes for all arrays of a machine.
pub struct NodeCache<'s, 'p, M> {
    pub(super) slabs: &'s Slabs<'p, M>,
    cache: &'s Cache,
    limbo: Limbo,
    pub(super) shadows: ShadowLists,
    pub(super) stat: &'s VmStat,
}

impl<'s, 'p, M: Machine> NodeCache<'s, 'p, M> {
    /// Makes the slab cache. Nodes with nothing but shadows are counted in `stat`.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn new(
        slabs: &'s Slabs<'p, M>,
        stat: &'s VmStat,
        frames: &impl FrameAllocator<'p>,
    ) -> Result<Self, CreateError> {
        let request = CacheRequest {
            name: "radix_tree_node",
            size: size_of::<Node>() as u32,
            align: align_of::<Node>() as u32,
            flags: SlabFlags::RECLAIM_ACCOUNT | SlabFlags::NO_MERGE,
            ctor: Some(construct),
        };
        let cache = slabs.create(&request, frames)?;
        Ok(Self { slabs, cache, limbo: Limbo::new(), shadows: ShadowLists::new(), stat })
    }

    /// The machine.
    #[inline(always)]
    pub(super) fn machine(&self) -> &'p M {
        self.slabs.machine()
    }

    /// CPUs that may be in a read section: all below this number.
    pub(crate) fn cpus(&self) -> u32 {
        self.cache.cpus()
    }

    /// Nodes that wait for the end of a grace period.
    pub fn waiting(&self) -> u64 {
        self.limbo.len()
    }

    /// Waits for a grace period and frees the nodes that waited for one; how many.
    /// None of them if this code cannot wait.
    pub fn settle(&self) -> usize {
        let cpu = self.machine().cpu();
        if !cpu.can_wait() {
            return 0;
        }
        let mut list = self.limbo.take();
        let count = list.len();
        if count != 0 && !planted("xarray.frees_at_once") && !rcu::synchronize(cpu, self.cache.cpus()) {
            self.limbo.append(&mut list);
            return 0;
        }
        while let Some(node) = list.pop() {
            node.reset();
            self.free(node);
        }
        count
    }

    /// Frees an empty node that no lookup is in.
    fn free(&self, node: Detached) {
        // SAFETY: the node came from the cache, and only `node` leads to it. A refusal would mean that somebody freed
        // it behind our back; then it is not ours to give.
        let _ = unsafe { self.slabs.free(self.cache, node.as_ptr().cast()) };
    }

    /// A stock without nodes.
    #[inline]
    #[must_use]
    pub const fn stock(&self) -> Stock<'_, 's, 'p, M> {
        let nodes = Nodes { spare: NodeList::EMPTY, gone: NodeList::EMPTY, watch: Some(self) };
        Stock { cache: self, nodes }
    }

    /// A supply that takes its frames from `frames`.
    #[inline]
    #[must_use]
    pub const fn with<'a, F>(&'a self, frames: &'a F, gfp: GfpFlags) -> Source<'a, 's, 'p, M, F> {
        Source { cache: self, frames, gfp }
    }

    #[cold]
    fn alloc(&self, frames: &impl FrameAllocator<'p>, gfp: GfpFlags) -> Option<Detached> {
        let node = self.slabs.alloc(self.cache, frames, gfp).or_else(|error| {
            // What waits may be all it takes.
            if self.settle() == 0 { Err(error) } else { self.slabs.alloc(self.cache, frames, gfp) }
        });
        // SAFETY: the object was just allocated, and it was constructed as a node.
        Some(unsafe { Detached::new(node.ok()?.cast()) })
    }
}

/// Makes the memory of an object a node.
fn construct(object: NonNull<u8>) {
    // SAFETY: the cache has objects of the size and alignment of a node.
    unsafe { object.cast::<Node>().write(Node::empty()) }
}

/// Where an operation gets its nodes from (Linux: the `gfp_t` of `xa_store`).
pub struct Source<'a, 's, 'p, M, F> {
    pub(super) cache: &'a NodeCache<'s, 'p, M>,
    frames: &'a F,
    gfp: GfpFlags,
}

impl<'p, M: Machine, F: FrameAllocator<'p>> Source<'_, '_, 'p, M, F> {
    /// Fills `stock`, so that what fell [`Short`] can be repeated (Linux `xas_nomem`). No lock is held.
    ///
    /// # Errors
    /// [`XaError::NoMemory`].
    #[cold]
    pub fn fill(&self, stock: &mut Stock<'_, '_, 'p, M>, short: Short) -> Result<(), XaError> {
        let Short(needed) = short;
        while stock.nodes.spare.len() < needed {
            let node = self.cache.alloc(self.frames, self.gfp).ok_or(XaError::NoMemory)?;
            stock.nodes.spare.push(node);
        }
        Ok(())
    }
}

/// Nodes for what is done under the lock, allocated before; and those that it takes out of the tree.
pub struct Stock<'a, 's, 'p, M: Machine> {
    cache: &'a NodeCache<'s, 'p, M>,
    pub(super) nodes: Nodes<'a>,
}

impl<M: Machine> Drop for Stock<'_, '_, '_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.nodes.spare.len() | self.nodes.gone.len() != 0 {
            self.give_back();
        }
    }
}

impl<M: Machine> Stock<'_, '_, '_, M> {
    #[cold]
    fn give_back(&mut self) {
        while let Some(node) = self.nodes.spare.pop() {
            self.cache.free(node);
        }
        self.cache.limbo.append(&mut self.nodes.gone);
        if self.cache.waiting() >= BATCH {
            self.cache.settle();
        }
    }
}
