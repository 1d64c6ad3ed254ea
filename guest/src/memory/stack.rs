//! Kernel stacks: areas of vmalloc, so that an overflow runs into a guard page and is reported.
//!
//! Owns: the count of stack pages. Invariants: below every stack lies the guard of the area before, or the page that
//! this one leaves unmapped. Source: Linux `CONFIG_VMAP_STACK`.

use super::areas::{self, AREAS};
use super::count::{NodeCount, node_of};
use mm::addr::{NodeId, PAGE_SIZE, VirtAddr};

/// Pages of a stack.
const PAGES: u64 = 8;

static IN_USE: NodeCount = NodeCount::new();

/// Pages of stacks in use (`KernelStack` in meminfo, a part of `VmallocUsed`).
pub fn pages_in_use() -> u64 {
    IN_USE.total()
}

/// The part of [`pages_in_use`] that is on `node`.
pub fn pages_in_use_on(node: NodeId) -> u64 {
    IN_USE.on(node)
}

/// A mapped stack; unmapped and freed when dropped.
pub struct Stack {
    area: VirtAddr,
}

impl Stack {
    /// A stack of 32 KiB; `None` without memory or addresses.
    pub fn alloc() -> Option<Self> {
        let stack = Self { area: areas::vmalloc(PAGES * PAGE_SIZE).ok()? };
        stack.each_node(|node| IN_USE.add(node, 1));
        Some(stack)
    }

    /// The node of each page.
    fn each_node(&self, visit: impl Fn(NodeId)) {
        let pages = (0..PAGES).map(|n| VirtAddr::truncate(self.bottom() + n * PAGE_SIZE));
        pages.filter_map(|page| AREAS.frame_of(page)).map(node_of).for_each(visit);
    }

    /// Its lowest byte.
    pub fn bottom(&self) -> u64 {
        self.area.get()
    }

    /// The first byte after it.
    pub fn top(&self) -> u64 {
        self.bottom() + PAGES * PAGE_SIZE
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.each_node(|node| IN_USE.remove(node, 1));
        if let Err(error) = areas::vfree(self.area) {
            crate::report::corruption(format_args!("Trying to vfree() a stack: {error}"));
        }
        // Who has waited for the end of a task finds its memory free.
        AREAS.purge();
    }
}
