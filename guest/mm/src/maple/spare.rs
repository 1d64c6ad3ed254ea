//! Nodes in reserve: what a change may need is allocated before it begins.
//!
//! Owns: the memory of nodes that are in no tree. Stays outside: the slab allocator, which it comes from and goes back
//! to. Invariants: every block of a bag is an object of the cache `maple_node` that nobody else uses; it starts with
//! the address of the next. Source: Linux `mas_preallocate`, `mas_destroy` (`lib/maple_tree.c`).

use super::node::{Node, Owned};
use crate::phys::{AllocError, FrameAllocator, GfpFlags};
use crate::port::Machine;
use crate::slab::{Cache, CacheRequest, CreateError, SlabFlags, Slabs};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A block in a bag.
struct Block {
    next: Option<NonNull<Block>>,
}

/// Memory of nodes that a change takes from and gives to. There is one in every [`Spare`].
pub struct Bag<'p> {
    first: Option<NonNull<Block>>,
    len: usize,
    memory: PhantomData<&'p ()>,
}

// SAFETY: the blocks are the bag's alone.
unsafe impl Send for Bag<'_> {}
// SAFETY: whoever only has a shared reference can count the blocks, not reach them.
unsafe impl Sync for Bag<'_> {}

impl Default for Bag<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'p> Bag<'p> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { first: None, len: 0, memory: PhantomData }
    }

    /// Takes everything that is in `other`.
    pub fn absorb(&mut self, other: &mut Self) {
        while let Some(memory) = other.pop() {
            // SAFETY: it was the other bag's alone.
            unsafe { self.push(memory) };
        }
    }

    /// How many nodes there are in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a block in.
    ///
    /// # Safety
    /// `memory` has the size and the alignment of a node, is mapped for `'p`, and nobody else uses it.
    unsafe fn push(&mut self, memory: NonNull<u8>) {
        let block = memory.cast::<Block>();
        // SAFETY: promised by the caller; a node is larger than a block.
        unsafe { block.write(Block { next: self.first }) };
        self.first = Some(block);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<NonNull<u8>> {
        let block = self.first?;
        // SAFETY: `push` made it a block, and it is the bag's alone.
        self.first = unsafe { block.read() }.next;
        self.len -= 1;
        Some(block.cast())
    }

    /// Takes an empty node of `level` out.
    pub(super) fn take(&mut self, level: u32) -> Option<Owned<'p>> {
        // SAFETY: what `push` was promised; the bag has let it go.
        self.pop().map(|memory| unsafe { Owned::new(memory, level) })
    }

    /// Puts a node in that nothing is below.
    pub(super) fn put(&mut self, node: Owned<'p>) {
        // SAFETY: the memory is that of a node, and its owner is gone.
        unsafe { self.push(node.into_memory()) }
    }
}

/// Where nodes come from: one cache for all trees of a machine.
pub struct Nodes<'a, 'p, M> {
    slabs: &'a Slabs<'p, M>,
    cache: &'a Cache,
}

impl<M> Clone for Nodes<'_, '_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Nodes<'_, '_, M> {}

impl<'a, 'p, M: Machine> Nodes<'a, 'p, M> {
    /// Makes the cache `maple_node`.
    ///
    /// # Errors
    /// [`CreateError`]; [`CreateError::Exists`] the second time.
    pub fn new(slabs: &'a Slabs<'p, M>, frames: &impl FrameAllocator<'p>) -> Result<Self, CreateError> {
        let request = CacheRequest {
            name: "maple_node",
            size: size_of::<Node<'_>>() as u32,
            align: align_of::<Node<'_>>() as u32,
            flags: SlabFlags::HWCACHE_ALIGN,
            ctor: None,
        };
        Ok(Self { slabs, cache: slabs.create(&request, frames)? })
    }

    /// An empty reserve.
    #[must_use]
    pub const fn spare(self) -> Spare<'a, 'p, M> {
        Spare { nodes: self, bag: Bag::new() }
    }
}

/// A [`Bag`] that is filled from the cache, and gives back what is in it when it is dropped.
pub struct Spare<'a, 'p, M: Machine> {
    nodes: Nodes<'a, 'p, M>,
    bag: Bag<'p>,
}

impl<'p, M: Machine> Spare<'_, 'p, M> {
    /// Fills it up to `count` nodes.
    ///
    /// # Errors
    /// [`AllocError`]; what was allocated stays in it.
    pub fn reserve(
        &mut self,
        count: usize,
        frames: &impl FrameAllocator<'p>,
        gfp: GfpFlags,
    ) -> Result<(), AllocError> {
        while self.bag.len < count {
            let object = self.nodes.slabs.alloc(self.nodes.cache, frames, gfp)?;
            // SAFETY: a new object of the cache, which was made for nodes; slabs lie in frames of a `Phys` that
            // lives for `'p`.
            unsafe { self.bag.push(object) }
        }
        Ok(())
    }
}

impl<'p, M: Machine> Spare<'_, 'p, M> {
    /// Takes one node out of `bag`, to be freed with this; whether there was one.
    pub fn take_one(&mut self, bag: &mut Bag<'p>) -> bool {
        let Some(memory) = bag.pop() else { return false };
        // SAFETY: it was the bag's alone, and all bags have nodes of the one cache.
        unsafe { self.bag.push(memory) };
        true
    }
}

impl<'p, M: Machine> Deref for Spare<'_, 'p, M> {
    type Target = Bag<'p>;

    fn deref(&self) -> &Bag<'p> {
        &self.bag
    }
}

impl<'p, M: Machine> DerefMut for Spare<'_, 'p, M> {
    fn deref_mut(&mut self) -> &mut Bag<'p> {
        &mut self.bag
    }
}

impl<M: Machine> Drop for Spare<'_, '_, M> {
    fn drop(&mut self) {
        while let Some(object) = self.bag.pop() {
            // SAFETY: it was the bag's alone. A bag of another cache is refused: its nodes are lost, nothing else.
            let _ = unsafe { self.nodes.slabs.free(self.nodes.cache, object) };
        }
    }
}
