//! Memory in which no two free pages lie together.

use crate::commands::support::{Block, Ledger};
use mm::addr::Order;
use mm::phys::GfpFlags;

/// Holds at least every other page of memory. Dropping it frees them.
pub struct Fragments(Ledger);

impl Fragments {
    /// Takes every free page and gives back those with even numbers: of each two buddies one at most.
    pub fn make() -> Self {
        let mut all = Ledger::new();
        // What lies below the marks counts too.
        let gfp = GfpFlags::GFP_KERNEL | GfpFlags::__GFP_MEMALLOC;
        while let Ok(block) = Block::alloc(gfp, Order::ZERO) {
            all.push(block);
        }
        let mut kept = Ledger::new();
        while let Some(block) = all.pop() {
            if block.pfn().get() % 2 == 1 {
                kept.push(block);
            }
        }
        Self(kept)
    }

    /// How many pages it holds.
    pub fn held(&self) -> u64 {
        self.0.len()
    }

    /// Whether not even two pages can be had together.
    pub fn is_complete() -> bool {
        let two = Order::ZERO.up().unwrap_or_default();
        Block::alloc(GfpFlags::GFP_KERNEL, two).is_err()
    }
}
