//! What is left when no room can be made: somebody has to go (Linux `__alloc_pages_may_oom`, 6.18).
//!
//! Owns: for which allocations a context may be ended, and when. Stays outside: which context that is, and ending it
//! ([`OomKiller`], of the guest).
//!
//! Invariants: whoever gets here can wait, so he holds none of the locks that mask interrupts, and every lock that a killer
//! takes is of those: of areas, tables, lists, zones. Their holders never come here, so the killer waits for none of them for
//! longer than they run. What the caller may hold are locks that are slept on: of pages, files, journals. The killer takes none
//! of those, and leaves what does to others, for whom nobody here waits for ever. It allocates as one who makes room, so it
//! cannot get here again. So an allocation ends: each turn has ended a context, of which there are not more and more, or has
//! waited for one who does.
//!
//! As in Linux an allocation of few pages that may use file systems does not fail while somebody can go; one that may not use
//! them fails here, where Linux tries for ever.

use super::Reclaim;
use super::direct::COSTLY_ORDER;
use crate::addr::Order;
use crate::frame::ZoneKind;
use crate::mutant::planted;
use crate::phys::{GfpFlags, MAX_FAILURES};
use crate::port::{Cpu, Machine, MemallocScope, TaskFlags};
use core::sync::atomic::Ordering;

/// Who ends contexts when memory is out.
pub trait OomKiller: Sync {
    /// No room can be made for such an allocation of the running task: ends somebody, or lets somebody end. Whether that is
    /// a reason to try again. Sleeps on no lock, see the module documentation.
    fn out_of_memory(&self, gfp: GfpFlags, order: Order) -> bool;
    /// Whether the running task is one of those that must end (Linux `tsk_is_oom_victim`).
    fn is_victim(&self) -> bool;
}

/// What came of the last resort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resort {
    /// Nobody may go for this, or nobody is left.
    None,
    /// There is room: somebody else has made it, or the allocation has failed for another reason.
    Room,
    /// Somebody goes, or less is kept free.
    Again,
}

impl<'p, M: Machine> Reclaim<'p, M> {
    /// From now on `killer` ends contexts when memory is out. Once.
    pub fn kill_with(&self, killer: &'p dyn OomKiller) {
        // Whoever came first keeps it.
        let _ = self.killer.init(|slot| {
            *slot = Some(killer);
            Ok::<(), ()>(())
        });
    }

    fn killer(&self) -> Option<&'p dyn OomKiller> {
        *self.killer.get()?
    }

    /// Whether the running task must end: it kills nobody, and waits for nobody.
    pub(super) fn is_victim(&self) -> bool {
        self.killer().is_some_and(|killer| killer.is_victim()) && !planted("vm::last.victims_go_on")
    }

    /// A task that must end may use a part of the reserves, so that it gets there (Linux `TIF_MEMDIE`, `ALLOC_OOM`).
    pub(super) fn dying_scope(&self) -> Option<MemallocScope<'p, M::Cpu>> {
        self.is_victim().then(|| self.vm.machine().cpu().memalloc_scope(TaskFlags::OOM_VICTIM))
    }

    /// Whether somebody may be ended for such an allocation of the running task.
    fn may_kill(&self, gfp: GfpFlags, order: Order) -> bool {
        let cpu = self.vm.machine().cpu();
        let gfp = gfp.in_scope(cpu.task_flags());
        let wanted = GfpFlags::__GFP_DIRECT_RECLAIM | GfpFlags::__GFP_FS;
        let mut unwanted = GfpFlags::__GFP_NORETRY | GfpFlags::__GFP_RETRY_MAYFAIL | GfpFlags::__GFP_THISNODE;
        if planted("vm::last.whoever_asks_kills") {
            unwanted = GfpFlags::empty();
        }
        // Contexts have little of the lowest zones.
        let is_low = gfp.zone().is_ok_and(|kind| kind < ZoneKind::Normal);
        gfp.contains(wanted)
            && !gfp.intersects(unwanted)
            && order.get() <= COSTLY_ORDER
            && !is_low
            && cpu.can_wait()
            && !cpu.task_flags().contains(TaskFlags::PF_MEMALLOC)
    }

    /// Whether a zone that serves such allocations has its high mark free. Then it is not memory that is out: large blocks
    /// may be, and ending somebody makes those by chance only.
    fn has_room(&self, gfp: GfpFlags) -> bool {
        let Ok(highest) = gfp.zone() else { return true };
        self.vm.phys().zones_for(highest).any(|zone| self.vm.phys().is_above_high(zone, highest))
    }

    /// Ends the boosts of all zones that serve such allocations; whether there were any. A boost asks for room, and is no
    /// reason for anybody to go.
    fn end_boosts(&self, gfp: GfpFlags) -> bool {
        let phys = self.vm.phys();
        let zones = gfp.zone().into_iter().flat_map(|highest| phys.zones_for(highest));
        let boosted = zones.filter(|zone| zone.watermark_boost() > 0);
        boosted.map(|zone| phys.settle_boost(zone, u64::MAX)).count() != 0
    }

    /// No room can be made for such an allocation.
    #[cold]
    pub(super) fn last_resort(&self, gfp: GfpFlags, order: Order) -> Resort {
        let may_kill = self.may_kill(gfp, order) && !planted("vm::last.nobody_is_asked");
        let Some(killer) = self.killer().filter(|_| may_kill) else { return Resort::None };
        if self.end_boosts(gfp) {
            return Resort::Again;
        }
        if self.has_room(gfp) && !planted("vm::last.room_is_no_reason") {
            return Resort::Room;
        }
        self.in_vain.store(0, Ordering::Relaxed);
        let cpu = self.vm.machine().cpu();
        let (_stalled, _scope) = (cpu.memstall(), cpu.memalloc_scope(TaskFlags::PF_MEMALLOC));
        if killer.out_of_memory(gfp, order) { Resort::Again } else { Resort::None }
    }

    /// An allocation that had to make room got what it asked for.
    pub(super) fn found_room(&self) {
        if self.in_vain.load(Ordering::Relaxed) != 0 {
            self.in_vain.store(0, Ordering::Relaxed);
        }
    }

    /// As [`Reclaim::last_resort`], for what is not an allocation but will try one again; whether that is of use.
    pub(super) fn is_worth_a_victim(&self, gfp: GfpFlags, order: Order) -> bool {
        match self.last_resort(gfp, order) {
            Resort::Again => true,
            Resort::None => false,
            // A failure that was made on purpose can go on for ever.
            Resort::Room => self.in_vain.fetch_add(1, Ordering::Relaxed) < MAX_FAILURES,
        }
    }
}
