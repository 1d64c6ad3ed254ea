//! Keeping a node above its high mark, so that nobody has to make room for himself (Linux `kswapd`, `balance_pgdat`).

use super::{CLUSTER, DEF_PRIORITY, Reclaim, Scan};
use crate::addr::{NodeId, Order};
use crate::frame::ZoneKind;
use crate::phys::GfpFlags;
use crate::port::{Cpu, Machine, TaskFlags};
use crate::vmstat::VmEvent;

/// How long kswapd waits whether it is asked again soon, before it sleeps for good.
const NAP_NS: u64 = 100_000_000;

impl<'p, M: Machine> Reclaim<'p, M> {
    /// What the task of a node's kswapd does; never returns unless `stop` says so.
    pub fn kswapd(&self, node: NodeId, mut stop: impl FnMut() -> bool) {
        let (cpu, phys) = (self.vm.machine().cpu(), self.vm.phys());
        let _scope = cpu.memalloc_scope(TaskFlags::PF_MEMALLOC);
        phys.kswapd_starts(node);
        let mut last = (Order::ZERO, ZoneKind::Movable);
        while !stop() {
            self.sleep(node, last);
            if let Some((order, highest)) = phys.take_wish(node) {
                last = (self.balance_node(node, order, highest), highest);
            }
        }
    }

    /// Whether kswapd of `node` was asked for room that it has not made yet.
    pub fn is_kswapd_busy(&self, node: NodeId) -> bool {
        self.vm.phys().is_kswapd_busy(node)
    }

    /// Sleeps until somebody asks for room (Linux `kswapd_try_to_sleep`).
    fn sleep(&self, node: NodeId, (order, highest): (Order, ZoneKind)) {
        let (cpu, phys, stat) = (self.vm.machine().cpu(), self.vm.phys(), self.vm.stat());
        let can_sleep = || {
            let is_balanced = phys.is_balanced(node, order, highest);
            if is_balanced {
                self.clear_congested(node);
            }
            let is_done = is_balanced || phys.kswapd_failures(node) >= crate::phys::MAX_FAILURES;
            if is_done {
                phys.kswapd_rests(node);
            }
            is_done
        };
        let mut is_asked = false;
        if can_sleep() {
            cpu.wait_on_for(phys.kswapd_key(node), NAP_NS, &mut || phys.is_kswapd_asked(node));
            is_asked = phys.is_kswapd_asked(node);
        }
        if is_asked {
            stat.count(cpu, VmEvent::KswapdLowHit, 1);
        } else if can_sleep() {
            cpu.wait_on(phys.kswapd_key(node), &mut || phys.is_kswapd_asked(node));
        } else {
            stat.count(cpu, VmEvent::KswapdHighHit, 1);
            phys.ask_again(node, order, highest);
        }
    }

    /// Takes pages of `node` until a zone up to `highest` has its high mark free and a block of `order`, or nothing is found;
    /// the order that was made room for.
    pub fn balance_node(&self, node: NodeId, order: Order, highest: ZoneKind) -> Order {
        let (cpu, phys) = (self.vm.machine().cpu(), self.vm.phys());
        let _stalled = cpu.memstall();
        self.vm.stat().count(cpu, VmEvent::PageOutRun, 1);
        let mut scan = Scan::new(GfpFlags::GFP_KERNEL, order, highest, 0, true);
        scan.node = node;
        let mut boosts = [0; ZoneKind::COUNT];
        for zone in phys.zones_below(node, highest) {
            boosts
                .get_mut(zone.id().kind.index())
                .into_iter()
                .for_each(|boost| *boost = zone.watermark_boost());
        }
        // What raised marks ask for is made of the page cache alone, and gently.
        let mut boost: u64 = boosts.iter().sum();
        while scan.priority >= 1 {
            let is_balanced = phys.is_balanced(node, scan.order, highest);
            if !is_balanced && boost != 0 {
                (boost, scan.priority) = (0, DEF_PRIORITY);
            } else if is_balanced && boost == 0 {
                break;
            }
            let may_rise = boost == 0 || scan.priority != DEF_PRIORITY - 2;
            scan.may_swap = boost == 0;
            scan.scanned = 0;
            let before = scan.reclaimed;
            let looked = self.kswapd_shrink(&mut scan);
            let reclaimed = scan.reclaimed - before;
            boost = boost.saturating_sub(reclaimed);
            if boost != 0 && reclaimed == 0 {
                break;
            }
            if may_rise && !looked || reclaimed == 0 {
                scan.priority -= 1;
            }
        }
        if scan.reclaimed == 0 && scan.priority == 0 {
            phys.kswapd_found(node, false);
        }
        // What was raised meanwhile stays for the next time.
        for zone in phys.zones_below(node, highest) {
            phys.settle_boost(zone, boosts.get(zone.id().kind.index()).copied().unwrap_or(0));
        }
        self.snapshot_refaults(node);
        scan.order
    }

    /// One round; whether as much was looked at as was wanted (Linux `kswapd_shrink_node`).
    fn kswapd_shrink(&self, scan: &mut Scan) -> bool {
        let zones = self.vm.phys().zones_below(scan.node, scan.highest);
        scan.wanted = zones.map(|zone| zone.watermarks().high.max(CLUSTER)).sum();
        self.shrink_node(scan);
        // Single pages for all is better than blocks for one: what was freed can be joined by compaction.
        if scan.order != Order::ZERO && scan.reclaimed >= 2 * scan.order.pages() {
            scan.order = Order::ZERO;
        }
        scan.scanned >= scan.wanted
    }
}
