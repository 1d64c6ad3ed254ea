//! Executable invariants of per-CPU lists.
//!
//! Owns: the checks. Invariants: a CPU's lists are walked on that CPU, so they do not change meanwhile; memory is
//! compared with the lists only if no CPU has allocated or freed in the meantime.

use super::{ListNo, Pageset};
use crate::addr::Order;
use crate::frame::{FrameIdx, Kind, ZoneId};
use crate::phys::layout::Layout;
use crate::phys::verify::{Broken, Rule, Violation, violation};
use crate::phys::{Event, Phys, Zone};
use crate::port::{Cpu, Machine};
use crate::sync::SpinLock;

impl Pageset {
    /// Checks every list of one zone. On the CPU that owns it, with interrupts masked.
    fn verify(&self, layout: &Layout, zone: ZoneId) -> Result<(), Broken> {
        let table = &layout.ground.table;
        let mut pages = 0;
        for (list, idx) in self.blocks(table) {
            let order = list.order();
            let sound = is_sound(layout, zone, list, idx);
            pages += order.pages();
            // More than the counter says: a ring has no end.
            if !sound || pages > u64::from(self.count()) {
                let rule = if sound { Rule::CachedCount } else { Rule::CachedMatchesList };
                return Err((rule, Some((idx, order))));
            }
        }
        if pages == u64::from(self.count()) { Ok(()) } else { Err((Rule::CachedCount, None)) }
    }
}

fn is_sound(layout: &Layout, zone: ZoneId, list: ListNo, idx: FrameIdx) -> bool {
    let table = &layout.ground.table;
    let (state, order) = (table.frame(idx).state(), list.order());
    state.kind() == Kind::Cached
        && state.order() == order
        && list.holds(state.migrate_type())
        && idx.is_aligned(order)
        && table.lookup(idx.pfn()).is_some_and(|(_, block)| block.zone() == zone)
}

impl<M: Machine> Phys<M> {
    /// Checks the lists of every CPU that can be asked, and that memory has no other cached blocks.
    pub(in crate::phys) fn verify_cached(&self, layout: &Layout) -> Result<(), Violation> {
        let cpu = self.machine.cpu();
        let result = SpinLock::new(Ok(()));
        let mut all = true;
        for (id, area) in self.pagesets.iter() {
            if id != cpu.id() && !cpu.can_wait() {
                all = false;
                continue;
            }
            cpu.call_on(id, &|| {
                let verdict = self.populated_zones().try_for_each(|zone| {
                    let set = area.set(zone.id().slot());
                    set.verify(layout, zone.id()).map_err(|broken| violation(zone.id(), broken))
                });
                if verdict.is_err() {
                    *result.lock(self.machine.cpu()) = verdict;
                }
            });
        }
        (*result.lock(cpu))?;
        if all {
            self.populated_zones().try_for_each(|zone| self.verify_cached_heads(layout, zone))
        } else {
            Ok(())
        }
    }

    /// Compares the lists with what memory says, unless something changes meanwhile.
    fn verify_cached_heads(&self, layout: &Layout, zone: &Zone) -> Result<(), Violation> {
        let before = self.look(zone);
        let found = zone.pages_of_kind(&layout.ground, Kind::Cached);
        if self.look(zone) != before || found == before.0 {
            return Ok(());
        }
        Err(violation(zone.id(), (Rule::EveryCachedHeadListed, None::<(FrameIdx, Order)>)))
    }

    /// Pages on all lists of a zone, and how many were ever allocated and freed. Each CPU is asked between two
    /// operations: what it has begun is finished, or begins after this.
    fn look(&self, zone: &Zone) -> (u64, u64, u64) {
        let cpu = self.machine.cpu();
        let seen = SpinLock::new((0, 0, 0));
        for (id, area) in self.pagesets.iter() {
            cpu.call_on(id, &|| {
                let set = area.set(zone.id().slot());
                let mut seen = seen.lock(self.machine.cpu());
                seen.0 += u64::from(set.count());
                seen.1 += set.events.count(Event::PgAlloc);
                seen.2 += set.events.count(Event::PgFree);
            });
        }
        *seen.lock(cpu)
    }
}
