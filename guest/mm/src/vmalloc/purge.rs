//! The purge: one flush for many freed areas, then their frames and pages are free.

use super::batch::Return;
use super::space::Retired;
use super::{AreaFrames, Codec, Config, Vmalloc};
use crate::addr::Order;
use crate::mutant::planted;
use crate::port::{Level, Machine, PteCodec, Tlb};
use core::sync::atomic::Ordering;

/// How much may wait for a flush on a machine with so many CPUs: a flush costs more with each, so more is saved up
/// (Linux `lazy_max_pages`: 32 MiB for each power of two).
#[must_use]
pub const fn lazy_max_pages(cpus: u32) -> u64 {
    (u32::BITS - cpus.leading_zeros()) as u64 * ((32 << 20) / crate::addr::PAGE_SIZE)
}

/// Frames of freed areas are taken until the flush, so not more than this part of RAM may wait, whatever Linux's
/// rule says.
const LAZY_PART_OF_RAM: u64 = 64;

impl<'m, M: Machine, F: AreaFrames> Vmalloc<'m, M, F> {
    /// Says how many CPUs are online on a machine with `ram` pages.
    pub fn set_cpus(&self, cpus: u32, ram: u64) {
        let limit = lazy_max_pages(cpus).min(ram / LAZY_PART_OF_RAM);
        self.lazy_limit.store(limit, Ordering::Relaxed);
    }

    /// Flushes once and frees all areas that wait for that, with their frames; gives how many pages they were.
    pub fn purge(&self) -> u64 {
        let Some(config) = self.config() else { return 0 };
        let Some((mut batch, span)) = self.lock().take_lazy() else { return 0 };
        self.purges.fetch_add(1, Ordering::Relaxed);
        if !planted("vmalloc.no_flush") {
            self.machine.tlb().flush_range(config.address(span.start), span.end - span.start);
        }
        let mut pages = 0;
        let mut free = Return::new(&self.frames);
        let mut next = self.lock().next_of(&mut batch);
        while let Some((area, retired)) = next {
            pages += retired.pages;
            self.empty(config, retired, &mut free);
            let mut space = self.lock();
            next = space.next_of(&mut batch);
            space.release(area);
        }
        pages
    }

    /// Empties the entries of an area that has been flushed, and frees what they kept, single frames through `free`.
    fn empty(&self, config: &Config<'m, M>, retired: Retired, free: &mut Return<'_, F>) {
        let Some(part) = config.part(retired.start, retired.pages) else { return };
        // Retiring has gone through the same tables and found them sound.
        let _ = config.tree.scan(part, |slot, level, _| {
            let pfn = Codec::<M>::addr(slot.take()).pfn();
            if retired.owns_frames && !planted("vmalloc.keeps_frames") {
                // SAFETY: `alloc` took it with this order for a leaf of this level; the entry is empty, and since it
                // stopped translating every CPU has been flushed.
                unsafe {
                    match level {
                        Level::PTE => free.add(pfn),
                        _ => self.frames.free_frames(pfn, Order::PAGEBLOCK),
                    }
                }
            }
        });
        if part.pages() >= Level::PMD.pages() {
            let mut gather = config.tree.gather(&self.frames);
            let _ = config.tree.prune(part, &mut gather);
            let _ = gather.finish();
        }
    }
}
