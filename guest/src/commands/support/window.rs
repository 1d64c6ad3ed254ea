//! A second mapping of single frames, to see whether an address leads where the walker says.
//!
//! Owns: the window's pages. Invariants: a page of the window is mapped anew only after a flush, so a look through
//! it never uses an old translation; one window at a time.

use super::area;
use crate::memory::boot::{kernel_root, ring_bits};
use crate::memory::tables::KernelTables;
use mm::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use mm::pgtable::{PageRange, PtError};
use mm::port::{Level, PteBits};

const PAGES: u64 = 512;

/// See the module documentation.
pub struct Window {
    used: u64,
}

impl Window {
    /// Nothing is mapped.
    pub const fn new() -> Self {
        Self { used: 0 }
    }

    /// Maps the frame of `pa` once more, writable, and gives the address at which `pa` is seen now. It stays there
    /// until the window has gone round.
    pub fn show(&mut self, pa: PhysAddr) -> Result<u64, PtError> {
        if self.used == PAGES {
            self.close();
        }
        let page = VirtAddr::truncate(area::WINDOW + self.used * PAGE_SIZE);
        let bits = PteBits::WRITE | PteBits::NO_EXEC | ring_bits();
        // Counted first: tables made on the way to a failure go when the window is closed.
        self.used += 1;
        kernel_root().map(page, pa.pfn().addr(), Level::PTE, bits, &KernelTables)?;
        Ok(page.get() + pa.page_offset())
    }

    fn close(&mut self) {
        let start = VirtAddr::truncate(area::WINDOW);
        let Some(range) = PageRange::new(start, self.used).filter(|range| range.pages() > 0) else { return };
        let root = kernel_root();
        let mut gather = root.gather(&KernelTables);
        // The pages hold whole small leaves, so nothing has to be split and nothing can fail.
        let _ = root.unmap(range, &mut gather, |_, _, _| {});
        let _ = gather.finish();
        self.used = 0;
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.close();
    }
}
