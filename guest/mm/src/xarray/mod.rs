//! The array behind the page cache, shared memory and the swap cache: entries by index (Linux `lib/xarray.c`, 6.18).
//!
//! Owns: a tree of nodes with 64 slots, entries of one or of a power of two indices, three marks for each entry.
//! Stays outside: what entries mean. Invariants:
//! - `count` and `nr_values` of a node are what its slots hold; no node is empty; the top node does more than lead to
//!   its first slot.
//! - An entry of several slots is in the first of them, the others name that one. Marks are as `marks` says.
//! - A tree changes only under its lock; whoever has a reference to [`Held`] holds it.
//!
//! Lookups take no lock and write nothing shared. They run in a [read section](crate::sync::rcu), and nodes that were
//! taken out of a tree are freed after a grace period (`supply`), so a lookup always follows its pointers into nodes.
//! A node that was taken out is not changed before that. What a lookup finds in it stood there at the moment when the
//! node was taken out, after the lookup began: the answer was right while the lookup ran. Slots that cover each other
//! are read together under a sequence counter, which only changes of such entries raise. A store to several indices is
//! seen at each of them once, but not at all of them at the same instant. Whoever pins what an entry names (a folio)
//! looks again afterwards, as in Linux.
//!
//! Two ways to change: [`XArray`] has operations that lock, allocate and repeat by themselves; [`XArray::lock`] gives
//! a [`Locked`] array for several steps at once, with a [`Stock`] of nodes that was filled before.
//!
//! | file | job |
//! |---|---|
//! | `entry`, `node`, `error` | words, nodes, lists of nodes; what can go wrong |
//! | `tree` | lookups |
//! | `store`, `erase`, `marks` | changes |
//! | `supply`, `limbo` | nodes from and to the slab cache, and what waits for the end of lookups |
//! | `shadows` | nodes that hold nothing but values, and giving them back |
//! | `locked`, `ops`, `cursor`, `row` | what users call |
//! | `verify` | checks |

#[cfg(not(all(loom, test)))]
mod cursor;
mod entry;
mod erase;
mod error;
mod limbo;
#[cfg(not(all(loom, test)))]
mod locked;
mod marks;
mod node;
#[cfg(not(all(loom, test)))]
mod ops;
#[cfg(not(all(loom, test)))]
mod row;
#[cfg(not(all(loom, test)))]
mod shadows;
mod store;
#[cfg(not(all(loom, test)))]
mod supply;
#[cfg(all(loom, test))]
mod tests;
mod tree;
mod verify;

#[cfg(not(all(loom, test)))]
pub use cursor::Cursor;
pub use entry::Entry;
pub use error::{Short, SplitError, XaError};
#[cfg(not(all(loom, test)))]
pub use locked::Locked;
pub use node::Mark;
#[cfg(not(all(loom, test)))]
pub use ops::XArray;
#[cfg(not(all(loom, test)))]
pub use row::Entries;
#[cfg(not(all(loom, test)))]
pub use supply::{NodeCache, Source, Stock};
pub use tree::Found;
#[cfg(doc)]
use tree::Held;
pub use verify::{Census, Violation};
