//! Allocating many single pages at once.
//!
//! Owns: filling an array from one CPU's lists. Source: Linux `mm/page_alloc.c` (`alloc_pages_bulk_noprof`).

use super::events::Event;
use super::pcp::ListNo;
use super::watermark::AllocFlags;
use super::{Frames, GfpFlags, Phys};
use crate::addr::Order;
use crate::frame::{Owner, State};
use crate::port::{Cpu, Machine};

impl<M: Machine> Phys<M> {
    /// Puts a page in every empty slot, and returns how many slots are full then. It stops at the first slot for
    /// which there is no page.
    pub fn alloc_pages_bulk<'a>(&'a self, gfp: GfpFlags, slots: &mut [Option<Frames<'a>>]) -> usize {
        self.fill_near(gfp, slots);
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

    /// Fills slots from the lists of the running CPU as long as the zone that it prefers has plenty of memory.
    #[inline(never)]
    fn fill_near<'a>(&'a self, gfp: GfpFlags, slots: &mut [Option<Frames<'a>>]) {
        if self.debug.is_on() {
            return;
        }
        let (Ok(highest), mt) = (gfp.zone(), gfp.migrate_type()) else { return };
        let (Some(list), Some(layout)) = (ListNo::of(Order::ZERO, mt), self.layout.get()) else { return };
        let table = &layout.ground.table;
        let cpu = self.machine.cpu();
        let _masked = cpu.irq_guard();
        let Some((zone, set)) = self.pagesets.of(cpu.id()).and_then(|area| area.preferred(highest)) else {
            return;
        };
        if zone.free_pages() <= zone.marks.fast(highest).saturating_add(slots.len() as u64) {
            return;
        }
        let kind = (list, Order::ZERO, mt);
        let mut filled = 0;
        for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
            let idx = set.pop(table, list, Order::ZERO);
            let Some(idx) = idx.or_else(|| zone.refill(cpu, &layout.ground, set, kind, AllocFlags::empty()))
            else {
                break;
            };
            table.frame(idx).set_state(State::allocated(Order::ZERO, mt, Owner::Zone));
            if gfp.contains(GfpFlags::__GFP_ZERO) {
                self.zero(idx, Order::ZERO);
            }
            *slot = Some(Frames::new(idx.pfn(), Order::ZERO, &self.leaks));
            filled += 1;
        }
        set.events.add(Event::PgAlloc, filled);
        set.events.add(Event::HitLocal, filled);
    }
}
