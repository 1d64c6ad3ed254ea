//! Locks, one-time initialisation, and reading without a lock.
//!
//! Owns: [`SpinLock`] and [`RwLock`], which mask interrupts while they are held; [`Once`], a value built in place at boot;
//! [`rcu`], grace periods; a counter that tells readers of several words that a writer came between.
//! Stays outside: sleeping (the memory manager never sleeps with a lock held) and what the locks protect.
//! Invariants: data is reachable only through a guard; a guard never leaves its CPU.
//!
//! Lock order, outermost first (a lock may only be taken while holding locks that stand before it; Linux
//! `mm/rmap.c`): address-space tree, folio, rmap, leaf page table, {page-cache tree, swap slots, LRU}, slab
//! node, zone.
//! Two zone locks are never held together, and nothing is locked below a zone.
//!
//! In a test build with `--cfg loom` the atomics are loom's, so that the model checker sees every access.

pub(crate) mod atomic;
mod gate;
#[cfg(all(loom, test))]
pub(crate) mod loom_cpu;
mod once;
mod ownership;
pub mod rcu;
mod rwlock;
mod seq;
mod spin;
#[cfg(all(loom, test))]
mod tests;

pub(crate) use gate::Gate;
pub use once::{InitError, Once};
#[cfg(not(all(loom, test)))]
pub(crate) use ownership::{Chain, Freed, Place, RemoteWord};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
pub(crate) use seq::SeqCount;
pub use spin::{SpinGuard, SpinLock};
