//! What a TLB miss costs under virtualization: the two-dimensional walk.
//!
//! Every table address of the guest's walk is itself translated by the host's. Source: Bhargava et al.,
//! "Accelerating Two-Dimensional Page Walks for Virtualized Systems" (ASPLOS 2008).

use super::PageTable;
use crate::port::{Level, Machine};

/// Entries read by a walk through `guest` levels of guest tables on `host` levels of host tables.
///
/// 24 for 4 KiB pages on 4 KiB pages, 15 for 2 MiB on 2 MiB, 8 for 1 GiB on 1 GiB, all with four levels;
/// `guest` alone without virtualization (`host` is 0).
#[must_use]
pub const fn walk_refs(guest: u32, host: u32) -> u32 {
    (guest + 1) * (host + 1) - 1
}

impl<M: Machine> PageTable<'_, M> {
    /// How many levels a walk to a leaf of `leaf` reads here.
    #[must_use]
    pub fn walk_levels(&self, leaf: Level) -> u32 {
        self.root_level().get().saturating_sub(leaf.get()) + 1
    }
}
