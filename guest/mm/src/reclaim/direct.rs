//! Making room for oneself (Linux `try_to_free_pages`, `do_try_to_free_pages`, `should_reclaim_retry`).

use super::{CLUSTER, DEF_PRIORITY, Reclaim, Scan};
use crate::addr::{NodeId, Order};
use crate::errno::Errno;
use crate::frame::ZoneKind;
use crate::lru::LruList;
use crate::phys::{GfpFlags, MAX_FAILURES, Zone};
use crate::port::{Cpu, Machine, TaskFlags};

/// Above this order nobody tries for long (Linux `PAGE_ALLOC_COSTLY_ORDER`).
pub(super) const COSTLY_ORDER: u32 = 3;

/// How often in a row nothing was found.
#[derive(Default)]
pub(super) struct Patience(u32);

impl<'p, M: Machine> Reclaim<'p, M> {
    /// Takes pages for an allocation that may wait; how many. 0 for one that must not, and for who makes room already.
    pub fn make_room(&self, gfp: GfpFlags, order: Order) -> u64 {
        let cpu = self.vm.machine().cpu();
        let makes_room = cpu.task_flags().contains(TaskFlags::PF_MEMALLOC);
        let Ok(highest) = gfp.zone() else { return 0 };
        if makes_room || !gfp.contains(GfpFlags::__GFP_DIRECT_RECLAIM) || !cpu.can_wait() {
            return 0;
        }
        let gfp = gfp.in_scope(cpu.task_flags());
        let (_stalled, _scope) = (cpu.memstall(), cpu.memalloc_scope(TaskFlags::PF_MEMALLOC));
        let mut scan = Scan::new(gfp, order, highest, CLUSTER, false);
        loop {
            self.zones(highest).take(1).for_each(|zone| self.vm.phys().count_stall(zone));
            self.shrink_zones(&mut scan);
            if scan.reclaimed != 0 || scan.force_deactivate || !scan.spared {
                return scan.reclaimed;
            }
            // Active pages were spared for those that come back; now there is nothing else.
            scan.priority = DEF_PRIORITY;
            (scan.force_deactivate, scan.spared) = (true, false);
        }
    }

    /// An allocation found nothing and no room: if it may not fail, waits until somebody may have freed something (Linux
    /// `__alloc_pages_slowpath`, `__GFP_NOFAIL`); whether it is tried again.
    pub(super) fn must_go_on(&self, gfp: GfpFlags) -> bool {
        let cpu = self.vm.machine().cpu();
        let may_wait = gfp.contains(GfpFlags::__GFP_DIRECT_RECLAIM) && cpu.can_wait();
        let must = gfp.contains(GfpFlags::__GFP_NOFAIL) && may_wait;
        if must && let Ok(highest) = gfp.zone() {
            self.wait_a_tick(self.first_node(highest));
        }
        must
    }

    /// Makes room for what has just found none and can be tried again, if need be by ending somebody; false if that is of no
    /// use (Linux `__alloc_pages_slowpath`). A task that must end finds out when it tries.
    pub fn try_again(&self, gfp: GfpFlags, order: Order) -> bool {
        let mut patience = Patience::default();
        loop {
            let reclaimed = self.make_room(gfp, order);
            if reclaimed != 0 {
                return true;
            }
            if !self.is_worth_retrying(&mut patience, (gfp, order), reclaimed) {
                return self.is_victim() || self.is_worth_a_victim(gfp, order);
            }
        }
    }

    /// Does what needs memory while it holds locks that keep it from making room itself: makes room, and does it again, until
    /// there is none to be made. What has failed must be good to do again: it has left nothing behind, or goes on from there.
    ///
    /// # Errors
    /// Those of `what`.
    pub fn with_room<T>(&self, mut what: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
        let (gfp, order, highest) = (GfpFlags::GFP_KERNEL, Order::ZERO, ZoneKind::Normal);
        for _ in 0..MAX_FAILURES {
            let result = what();
            if !matches!(result, Err(Errno::Enomem)) {
                return result;
            }
            // Others make room, too.
            let is_short = |zone: &Zone| !self.vm.phys().would_serve(zone, order, highest, zone.free_pages());
            if self.zones(highest).all(is_short) && !self.try_again(gfp, order) {
                return result;
            }
        }
        what()
    }

    fn zones(&self, highest: ZoneKind) -> impl Iterator<Item = &'p Zone> {
        self.vm.phys().zones_for(highest)
    }

    fn shrink_zones(&self, scan: &mut Scan) {
        loop {
            scan.scanned = 0;
            let mut last = None;
            for node in self.zones(scan.highest).map(|zone| zone.id().node) {
                if last.replace(node) != Some(node) {
                    scan.node = node;
                    self.shrink_node(scan);
                }
            }
            scan.node = self.first_node(scan.highest);
            self.consider_pause(scan);
            if scan.reclaimed >= scan.wanted || scan.priority == 0 {
                break;
            }
            scan.priority -= 1;
        }
        let mut last = None;
        for node in self.zones(scan.highest).map(|zone| zone.id().node) {
            if last.replace(node) != Some(node) {
                self.snapshot_refaults(node);
            }
        }
    }

    fn first_node(&self, highest: ZoneKind) -> NodeId {
        self.zones(highest).next().map_or(NodeId::ZERO, |zone| zone.id().node)
    }

    /// Pages that can perhaps be taken from a zone (Linux `zone_reclaimable_pages`).
    pub(super) fn reclaimable(&self, zone: &Zone) -> u64 {
        let of = |list| self.vm.lru().in_zone(zone.id(), list);
        let file = of(LruList::InactiveFile) + of(LruList::ActiveFile);
        file + if self.can_swap() { of(LruList::InactiveAnon) + of(LruList::ActiveAnon) } else { 0 }
    }

    /// Whether trying again may help after `reclaimed` pages were taken.
    pub(super) fn is_worth_retrying(
        &self,
        patience: &mut Patience,
        (gfp, order): (GfpFlags, Order),
        reclaimed: u64,
    ) -> bool {
        let is_costly = order.get() > COSTLY_ORDER;
        if gfp.contains(GfpFlags::__GFP_NORETRY) || is_costly && !gfp.contains(GfpFlags::__GFP_RETRY_MAYFAIL)
        {
            return false;
        }
        patience.0 = if reclaimed != 0 && !is_costly { 0 } else { patience.0 + 1 };
        let Ok(highest) = gfp.zone() else { return false };
        if reclaimed == 0 && self.vm.machine().cpu().can_wait() {
            self.await_progress(self.first_node(highest));
        }
        patience.0 <= MAX_FAILURES
            && self.zones(highest).any(|zone| {
                let pages = zone.free_pages() + self.reclaimable(zone);
                self.vm.phys().would_serve(zone, order, highest, pages)
            })
    }
}
