//! What the buddy algorithm did, step by step, for whoever asked to watch.
//!
//! Owns: the events and their text. The watcher is a closure that the compiler removes when it does nothing; it
//! runs under the lock of the zone and must not allocate.

use crate::addr::{Order, Pfn};
use core::fmt;

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The block of `order` at `pfn` was cut in two.
    Split {
        /// First frame.
        pfn: Pfn,
        /// Order before.
        order: Order,
    },
    /// Two blocks of `order` became one at `pfn`.
    Merge {
        /// First frame of the merged block.
        pfn: Pfn,
        /// Order before.
        order: Order,
    },
    /// An exact allocation keeps the block of `order` at `pfn`.
    Keep {
        /// First frame.
        pfn: Pfn,
        /// Order.
        order: Order,
    },
    /// An exact allocation gave the block of `order` at `pfn` back.
    Return {
        /// First frame.
        pfn: Pfn,
        /// Order.
        order: Order,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Split { order, .. } => {
                write!(f, "split {}->{}", order.get(), order.get().saturating_sub(1))
            }
            Self::Merge { order, .. } => write!(f, "merge {}->{}", order.get(), order.get() + 1),
            Self::Keep { pfn, order } => write!(f, "keep {}@{:#x}", order.get(), pfn.get()),
            Self::Return { pfn, order } => write!(f, "return {}@{:#x}", order.get(), pfn.get()),
        }
    }
}
