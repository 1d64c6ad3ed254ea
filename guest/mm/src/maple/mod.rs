//! Ranges of pages in order, each with a pointer: what virtual memory areas are found in (Linux `lib/maple_tree.c`).
//!
//! Owns: the order of the ranges and the free space between them. Stays outside: locking (reads take `&self` and
//! write nothing, so they may run side by side; changes take `&mut self`), what the pointers lead to (they are carried,
//! never followed), and the slab allocator that nodes come from. Invariants: ranges do not overlap and are not empty;
//! all leaves are equally deep; a node has as many entries as `node` says; a node knows the first page and the
//! largest gap of every node below it; a leaf knows where the range before it ends. [`MapleTree::verify`] checks all.
//!
//! A B+-tree with nodes of 256 bytes, four cache lines: ten entries each, so two nodes lead to up to 100 ranges. A gap
//! belongs to the range after it, so the free space after the last range is nobody's. Linux keeps gaps as entries of
//! their own; here a node holds ranges only.
//!
//! A change takes the nodes it needs from a [`Bag`] that was filled before, and gives those it no longer needs to it.
//! With [`MapleTree::nodes_for`] nodes in the bag, several changes in a row cannot fail half way.
//!
//! | file | job |
//! |---|---|
//! | `node` | a node, its entries, and what happens between neighbours |
//! | `spare` | nodes in reserve |
//! | `find`, `gap` | looking for ranges, and for free space |
//! | `change` | putting in, taking out, moving bounds |
//! | `verify` | checking |

mod change;
mod error;
mod find;
mod gap;
mod node;
mod spare;
mod verify;

use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;
pub use error::{ChangeError, MapleViolation};
pub use find::Iter;
use node::Owned;
pub use spare::{Bag, Nodes, Spare};
pub use verify::Census;

/// Above the number of every page that 64 bits can address.
pub const LIMIT: u64 = 1 << 52;

/// See the module documentation. A tree that is dropped keeps its nodes: [`clear`](Self::clear) it first.
#[must_use = "the nodes of a tree that is dropped are lost"]
pub struct MapleTree<'p, T> {
    root: Option<Owned<'p>>,
    len: usize,
    values: PhantomData<Carried<T>>,
}

/// Pointers that are carried, never followed.
struct Carried<T>(PhantomData<NonNull<T>>);

// SAFETY: a pointer that nobody follows may be anywhere. Who follows it answers for that.
unsafe impl<T> Send for Carried<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Carried<T> {}

/// A range of pages and its value.
pub struct Entry<T> {
    /// First page.
    pub first: u64,
    /// First page behind it.
    pub end: u64,
    /// What was put in with it.
    pub value: NonNull<T>,
}

impl<T> Entry<T> {
    /// Its pages.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.first..self.end
    }
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Entry<T> {}

impl<T> MapleTree<'_, T> {
    /// An empty tree. It has no nodes.
    pub const fn new() -> Self {
        Self { root: None, len: 0, values: PhantomData }
    }

    /// How many ranges there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many nodes lead to a range, the leaf included.
    #[must_use]
    pub fn height(&self) -> usize {
        self.root.as_ref().map_or(0, |root| root.level() as usize + 1)
    }

    /// How many nodes have to be in the bag so that so many ranges can be put in, with other changes between them.
    #[must_use]
    pub fn nodes_for(&self, inserts: usize) -> usize {
        // One may split every node on its way and need a new root. After that the root has two entries, and it takes
        // eight more splits to fill it.
        inserts * (self.height() + 1 + inserts / 8)
    }
}

impl<T> Default for MapleTree<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}
