//! Allocating and freeing many single pages at once.
//!
//! Owns: filling an array from one CPU's lists, and emptying one to them. Source: Linux `mm/page_alloc.c`
//! (`alloc_pages_bulk_noprof`, `free_unref_folios`).

use super::error::FreeError;
use super::events::Event;
use super::pcp::ListNo;
use super::watermark::AllocFlags;
use super::{Frames, GfpFlags, Phys};
use crate::addr::{Order, Pfn};
use crate::frame::{FrameIdx, Owner, State};
use crate::port::{Cpu, Machine};

impl<M: Machine> Phys<M> {
    /// Puts a page in every empty slot, and returns how many slots are full then. It stops at the first slot for
    /// which there is no page.
    pub fn alloc_pages_bulk<'a>(&'a self, gfp: GfpFlags, slots: &mut [Option<Frames<'a>>]) -> usize {
        let empty = slots.iter_mut().filter(|slot| slot.is_none());
        self.fill_near(gfp, empty, |slot, idx| {
            *slot = Some(Frames::new(idx.pfn(), Order::ZERO, &self.leaks))
        });
        for (full, slot) in slots.iter_mut().enumerate() {
            if slot.is_none() {
                match self.alloc_pages(gfp, Order::ZERO) {
                    Ok(page) => *slot = Some(page),
                    Err(_) => return full,
                }
            }
        }
        slots.len()
    }

    /// Puts the number of a page, which is the caller's then, in every slot, and returns how many slots are full. It
    /// stops at the first for which there is no page.
    #[must_use = "the pages are the caller's"]
    pub fn alloc_raw_pages_bulk(&self, gfp: GfpFlags, slots: &mut [Pfn]) -> usize {
        let mut full = self.fill_near(gfp, slots.iter_mut(), |slot, idx| *slot = idx.pfn());
        for slot in slots.iter_mut().skip(full) {
            let Ok(page) = self.alloc_pages(gfp, Order::ZERO) else { break };
            *slot = page.into_raw().0;
            full += 1;
        }
        full
    }

    /// Fills slots from the lists of the running CPU as long as the zone that it prefers has plenty of memory; how many.
    #[inline]
    fn fill_near<S>(
        &self,
        gfp: GfpFlags,
        slots: impl Iterator<Item = S>,
        mut fill: impl FnMut(S, FrameIdx),
    ) -> usize {
        if self.debug.is_on() {
            return 0;
        }
        if self.is_elsewhere_in_scope(gfp) {
            return 0;
        }
        let (Ok(highest), mt) = (gfp.zone(), gfp.migrate_type()) else { return 0 };
        let (Some(list), Some(layout)) = (ListNo::of(Order::ZERO, mt), self.layout.get()) else { return 0 };
        let table = &layout.ground.table;
        let cpu = self.machine.cpu();
        let _masked = cpu.irq_guard();
        let Some((zone, set)) = self.pagesets.of(cpu.id()).and_then(|area| area.preferred(highest)) else {
            return 0;
        };
        let most = slots.size_hint().1.unwrap_or(usize::MAX) as u64;
        if zone.free_pages() <= zone.marks.fast(highest).saturating_add(most) {
            return 0;
        }
        let kind = (list, Order::ZERO, mt);
        let mut filled = 0;
        for slot in slots {
            let idx = set.pop(table, list, Order::ZERO);
            let Some(idx) = idx.or_else(|| zone.refill(cpu, &layout.ground, set, kind, AllocFlags::empty()))
            else {
                break;
            };
            table.frame(idx).set_state(State::allocated(Order::ZERO, mt, Owner::Zone));
            if gfp.contains(GfpFlags::__GFP_ZERO) {
                self.zero(idx, Order::ZERO);
            }
            fill(slot, idx);
            filled += 1;
        }
        set.events.add(Event::PgAlloc, filled);
        set.events.add(Event::HitLocal, filled);
        filled as usize
    }

    /// Takes many pages back.
    ///
    /// # Errors
    /// [`FreeError`] of the last page that was refused; all others are free.
    ///
    /// # Safety
    /// The caller owns every page that is allocated as a single one, and no other handle to it exists.
    pub unsafe fn free_raw_pages_bulk<P: Copy + Into<Pfn>>(&self, pages: &[P]) -> Result<(), FreeError> {
        let (mut rest, mut result) = (pages, Ok(()));
        loop {
            let given = self.give_near(rest);
            let Some((&page, after)) = rest.get(given..).and_then(<[P]>::split_first) else { return result };
            // SAFETY: promised by the caller.
            result = self.free_pages(unsafe { self.frames_from_raw(page.into(), Order::ZERO) }).and(result);
            rest = after;
        }
    }

    /// Gives pages to the lists of the running CPU until one does not belong there; how many.
    #[inline]
    fn give_near<P: Copy + Into<Pfn>>(&self, pages: &[P]) -> usize {
        if self.debug.is_on() {
            return 0;
        }
        let cpu = self.machine.cpu();
        let _masked = cpu.irq_guard();
        let Some(area) = self.pagesets.of(cpu.id()) else { return 0 };
        let mut given = 0;
        while let Some(rest) = pages.get(given..)
            && let Some((run, slot, list, length)) = area.give_run(rest)
        {
            given += run;
            self.shorten_if(slot, list, length);
        }
        given
    }
}
