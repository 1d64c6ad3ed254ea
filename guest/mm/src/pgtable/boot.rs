//! Table frames at boot, before there are zones: straight from the memory map.

use super::TableFrames;
use crate::addr::{PAGE_SIZE, Pfn};
use crate::memblock::{Memblock, Request};
use core::cell::RefCell;

/// Takes single frames out of the memory map. For one CPU.
pub struct BootTables<'a> {
    memblock: RefCell<&'a mut Memblock>,
    request: Request,
}

impl<'a> BootTables<'a> {
    /// Takes frames from `memblock` where `request` says; its size and alignment do not count.
    #[must_use]
    pub fn new(memblock: &'a mut Memblock, request: Request) -> Self {
        let request = Request { size: PAGE_SIZE, align: PAGE_SIZE, ..request };
        Self { memblock: RefCell::new(memblock), request }
    }
}

// SAFETY: the memory map gives each frame out once, as RAM that nobody else has.
unsafe impl TableFrames for BootTables<'_> {
    fn alloc_table(&self) -> Option<Pfn> {
        let mut memblock = self.memblock.try_borrow_mut().ok()?;
        Some(memblock.alloc(&self.request).ok()?.pfn())
    }

    unsafe fn free_table(&self, pfn: Pfn) {
        // If the map has no room for one more hole, the frame stays reserved.
        if let Ok(mut memblock) = self.memblock.try_borrow_mut() {
            let _ = memblock.release(pfn.addr(), PAGE_SIZE);
        }
    }
}
