//! Runs of frames beyond the largest block, for gigantic pages and their like.
//!
//! Owns: finding such a run among free blocks. Stays outside: making room by moving what is in the way, which needs
//! migration. Invariants: a run is whole free blocks of the largest order in a row, so nothing but their state
//! changes; it starts at a multiple of its size if that is a power of two.
//! Source: Linux `mm/page_alloc.c` (`alloc_contig_pages_noprof`, `zone_spans_last_pfn`).

use super::error::AllocError;
use super::events::Event;
use super::ground::Ground;
use super::handle::ExactFrames;
use super::slowpath::{Attempt, zones};
use super::watermark::{AllocFlags, Wanted};
use super::zone::Zone;
use super::{GfpFlags, Phys};
use crate::addr::{NodeId, Order, Pfn};
use crate::frame::{FrameIdx, Kind, MigrateType, Owner};
use crate::port::{Cpu, Machine};

/// Pages of a block of the largest order.
const BLOCK: u64 = Order::MAX.pages();

impl<M: Machine> Phys<M> {
    /// Allocates `pages` frames in a row, near `node` or near the running CPU, as far as they are free: nothing is
    /// moved out of the way (Linux `alloc_contig_pages`). Taking them leaves every zone its low mark.
    ///
    /// # Errors
    /// [`AllocError`]; [`AllocError::BadSize`] for 0 pages.
    pub fn alloc_contig_pages(
        &self,
        gfp: GfpFlags,
        pages: u64,
        node: Option<NodeId>,
    ) -> Result<ExactFrames<'_>, AllocError> {
        let layout = self.layout()?;
        if pages == 0 {
            return Err(AllocError::BadSize);
        }
        if self.fails_on_purpose(gfp, Order::MAX) {
            return Err(AllocError::OutOfMemory);
        }
        // What CPUs keep is not merged.
        self.drain_all_pages();
        let attempt = Attempt { node, ..Attempt::new(gfp, Order::MAX) };
        let node = node.unwrap_or_else(|| self.local_node(layout));
        if !layout.node(node).online {
            return Err(AllocError::BadNode);
        }
        let wanted = Wanted { order: Order::MAX, highest: gfp.zone()?, flags: AllocFlags::empty() };
        let mut zones = zones(layout, node, &attempt, &wanted).filter(|zone| {
            let kept = zone.watermarks().low.saturating_add(zone.lowmem_reserve(wanted.highest));
            zone.free_pages() > pages.saturating_add(kept)
        });
        let ground = &layout.ground;
        let found = zones.find_map(|zone| {
            zone.take_in_deferred(self.machine.cpu(), ground, u32::MAX);
            Some((zone, zone.alloc_contig(self.machine.cpu(), ground, pages, gfp.migrate_type())?))
        });
        let (zone, first) = found.ok_or(AllocError::OutOfMemory)?;
        self.count(zone, Event::PgAlloc, pages);
        let frames = ExactFrames::new(first.pfn(), pages, &self.leaks);
        for (idx, order) in
            frames.blocks().filter_map(|(pfn, order)| Some((ground.table.lookup(pfn)?.0, order)))
        {
            self.hand_out(idx, order, gfp);
        }
        Ok(frames)
    }

    /// Makes a handle again of what [`ExactFrames::into_raw`] returned, or of a block of `pages` frames.
    ///
    /// # Safety
    /// The caller owns the run, and no other handle to it exists.
    pub unsafe fn exact_from_raw(&self, pfn: Pfn, pages: u64) -> ExactFrames<'_> {
        ExactFrames::new(pfn, pages, &self.leaks)
    }
}

impl Zone {
    /// Takes the first run of `pages` free frames that is not partly in use.
    fn alloc_contig<C: Cpu>(
        &self,
        cpu: &C,
        ground: &Ground,
        pages: u64,
        mt: MigrateType,
    ) -> Option<FrameIdx> {
        let align = if pages.is_power_of_two() { pages.max(BLOCK) } else { BLOCK };
        let count = pages.div_ceil(BLOCK);
        let whole = count.checked_mul(BLOCK)?;
        let (start, end) = (self.start_pfn().get(), self.start_pfn().get() + self.spanned_pages());
        let mut inner = self.lock(cpu);
        let mut buddy = self.buddy(&mut inner.lists, ground);
        let mut at = start.checked_next_multiple_of(align)?;
        while at.checked_add(whole)? <= end {
            let mut last_first = (0..count).rev().map(|n| at + n * BLOCK);
            let in_use = last_first.find(|pfn| !self.is_free_block(ground, *pfn));
            let Some(in_use) = in_use else { break };
            // No run that starts before the end of that block is free.
            at = (in_use + BLOCK).checked_next_multiple_of(align)?;
        }
        if at + whole > end {
            return None;
        }
        let blocks = (0..count).map(|n| at + n * BLOCK);
        for (pfn, idx) in blocks.filter_map(|pfn| Some((pfn, ground.table.lookup(Pfn::new(pfn)?)?.0))) {
            let from = ground.table.frame(idx).state().migrate_type();
            buddy.unlink(idx, Order::MAX, from);
            let idx = buddy.hold(idx, Order::MAX, mt);
            let rest = at + pages - pfn;
            if rest < BLOCK {
                buddy.trim(idx, Order::MAX, rest, from, &mut |_| {});
            }
        }
        ground.table.lookup(Pfn::new(at)?).map(|(idx, _)| idx)
    }

    /// Whether a free block of the largest order starts at `pfn`, one that is not held back. Under the lock.
    fn is_free_block(&self, ground: &Ground, pfn: u64) -> bool {
        let found = Pfn::new(pfn).and_then(|pfn| ground.table.lookup(pfn));
        found.is_some_and(|(idx, block)| {
            let state = ground.table.frame(idx).state();
            block.zone() == self.id()
                && state.kind() == Kind::Free
                && state.is_free_block(Order::MAX, Owner::Zone)
                && state.migrate_type().is_mergeable()
        })
    }
}
