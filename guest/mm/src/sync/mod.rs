//! Locks and one-time initialisation.
//!
//! Owns: [`SpinLock`] and [`RwLock`], which mask interrupts while they are held, and [`Once`], a value built in place
//! at boot.
//! Stays outside: sleeping (the memory manager never sleeps with a lock held) and what the locks protect.
//! Invariants: data is reachable only through a guard; a guard never leaves its CPU.
//!
//! Lock order, outermost first (a lock may only be taken while holding locks that stand before it; Linux
//! `mm/rmap.c`): address-space tree, folio, rmap, leaf page table, {page-cache tree, swap slots, LRU}, slab
//! node, zone.
//! Two zone locks are never held together, and nothing is locked below a zone.
//!
//! In a test build with `--cfg loom` the atomics are loom's, so that the model checker sees every access.

mod atomic;
mod once;
mod ownership;
mod rwlock;
mod spin;
#[cfg(all(loom, test))]
mod tests;

pub use once::{InitError, Once};
#[cfg(not(all(loom, test)))]
pub(crate) use ownership::{Chain, Freed, Place, RemoteWord};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
pub use spin::{SpinGuard, SpinLock};
