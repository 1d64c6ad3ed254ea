//! External fragmentation: how much of the free memory of a zone is of use for large blocks.
//!
//! Owns: the two indexes, in thousandths. Source: Linux `mm/vmstat.c` (`unusable_free_index`,
//! `__fragmentation_index`); Gorman and Whitcroft, "The what, the why and the where to of anti-fragmentation" (OLS 2006).

use super::zone::Zone;
use crate::addr::Order;

impl Zone {
    /// Which part of its free memory lies in blocks too small for `order`, from 0, all is of use, to 1000, nothing is.
    #[must_use]
    pub fn unusable_index(&self, order: Order) -> u32 {
        let free = self.pages_in_blocks(Order::ZERO);
        match free {
            0 => 1000,
            _ => ((free - self.pages_in_blocks(order)) * 1000 / free) as u32,
        }
    }

    /// Why an allocation of `order` fails: near 0 for want of memory, near 1000 because free memory is in pieces; -1000
    /// if it would not fail.
    #[must_use]
    pub fn fragmentation_index(&self, order: Order) -> i32 {
        let blocks: u64 = Order::all().map(|order| u64::from(self.free_blocks_of_order(order))).sum();
        if blocks == 0 {
            return 0;
        }
        if self.pages_in_blocks(order) != 0 {
            return -1000;
        }
        let free = self.pages_in_blocks(Order::ZERO);
        1000 - ((1000 + free * 1000 / order.pages()) / blocks) as i32
    }

    /// Pages in free blocks of at least `order`.
    #[must_use]
    pub fn pages_in_blocks(&self, order: Order) -> u64 {
        let large = Order::all().filter(|&size| size >= order);
        large.map(|size| u64::from(self.free_blocks_of_order(size)) * size.pages()).sum()
    }
}
