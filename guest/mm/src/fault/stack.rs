//! Stacks that grow when they are touched below (Linux `expand_downwards`).

use crate::addr::PAGE_SHIFT;
use crate::mutant::planted;
use crate::port::Machine;
use crate::space::layout::STACK_LIMIT;
use crate::space::{Mm, Vm};
use crate::vma::VmFlags;

impl<'p, M: Machine> Vm<'p, M> {
    /// Makes the stack above page `vpn` reach down to it; whether there is one that may.
    ///
    /// It may not come nearer than `stack_guard_gap` to what is below it, nor become larger than its limit.
    pub(super) fn grow_stack(&self, mm: &Mm<'p, M>, vpn: u64) -> bool {
        let cpu = self.machine().cpu();
        let mut areas = mm.areas().write(cpu);
        let Some(vma) = areas.next_from(vpn) else { return false };
        if vma.start() <= vpn {
            // Another CPU has just done it.
            return true;
        }
        let (first, end, flags) = (vma.start(), vma.end(), vma.flags());
        let gap = if planted("vm::basic.no_guard_gap") { 0 } else { self.settings().stack_guard_gap() };
        let floor = areas.end_before(first);
        let is_below = floor != 0 && vpn < floor.saturating_add(gap);
        if !flags.contains(VmFlags::GROWSDOWN) || is_below || end - vpn > STACK_LIMIT >> PAGE_SHIFT {
            return false;
        }
        self.account_growth(mm, flags, first - vpn) && areas.grow_down(cpu, first, vpn)
    }
}
