//! Emptying per-CPU lists: all at once, or slowly while a CPU does not use them.
//!
//! Owns: who is asked. Source: Linux `mm/page_alloc.c` (`drain_all_pages`, `decay_pcp_high`).

use super::ListNo;
use crate::phys::Phys;
use crate::port::{Cpu, Machine};

impl<M: Machine> Phys<M> {
    /// Gives what all CPUs keep on their lists back to the zones (Linux `drain_all_pages`). With interrupts masked
    /// only those of the running CPU.
    pub fn drain_all_pages(&self) {
        let cpu = self.machine.cpu();
        for (id, _) in self.pagesets.iter() {
            if id == cpu.id() || cpu.can_wait() {
                cpu.call_on(id, &|| self.drain_local_pages());
            }
        }
    }

    /// Gives what the running CPU keeps on its lists back to the zones (Linux `drain_local_pages`).
    pub fn drain_local_pages(&self) {
        let cpu = self.machine.cpu();
        let _masked = cpu.irq_guard();
        let (Some(layout), Some(area)) = (self.layout.get(), self.pagesets.of(cpu.id())) else { return };
        for zone in self.populated_zones() {
            let set = area.set(zone.id().slot());
            if set.count() > 0 {
                zone.give_back(cpu, &layout.ground, set, ListNo::FIRST, set.count());
                zone.marks.look_again(zone.free_pages());
            }
        }
    }

    /// Takes the running CPU's lists back towards their least length. Once every `vm.stat_interval` seconds: what a
    /// burst has left on them goes back to the zones.
    pub fn decay_local_pages(&self) {
        let cpu = self.machine.cpu();
        let _masked = cpu.irq_guard();
        let (Some(layout), Some(area)) = (self.layout.get(), self.pagesets.of(cpu.id())) else { return };
        for zone in self.populated_zones() {
            let set = area.set(zone.id().slot());
            let above = set.decay();
            if above > 0 {
                zone.give_back(cpu, &layout.ground, set, ListNo::FIRST, above);
            }
        }
    }
}
