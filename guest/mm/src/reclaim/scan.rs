//! How many pages of which list are looked at (Linux `get_scan_count`, `prepare_scan_control`, `inactive_is_low`).

use super::{MAX_SWAPPINESS, Reclaim, Scan};
use crate::addr::{NodeId, PAGE_SHIFT};
use crate::frame::{ZoneId, ZoneKind};
use crate::lru::LruList;
use crate::mutant::planted;
use crate::phys::Zone;
use crate::port::Machine;
use crate::vmstat::NodeStat;
use core::sync::atomic::Ordering;

/// Pages to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Targets {
    pub(super) inactive_anon: u64,
    pub(super) active_anon: u64,
    pub(super) inactive_file: u64,
    pub(super) active_file: u64,
}

impl Targets {
    pub(super) fn anon(self) -> u64 {
        self.inactive_anon + self.active_anon
    }

    pub(super) fn file(self) -> u64 {
        self.inactive_file + self.active_file
    }
}

/// Which kinds of pages are looked at.
enum Balance {
    Equal,
    File,
    Anon,
    /// So much of anonymous pages, so much of pages of files.
    Parts(u64, u64),
}

impl<'p, M: Machine> Reclaim<'p, M> {
    pub(super) fn size(&self, node: NodeId, stat: NodeStat) -> u64 {
        self.vm.stat().on_node(node, stat)
    }

    /// Whether inactive pages of a kind are few beside the active ones.
    pub(super) fn inactive_is_low(&self, node: NodeId, file: bool) -> bool {
        let (inactive, active) = if file {
            (NodeStat::InactiveFile, NodeStat::ActiveFile)
        } else {
            (NodeStat::InactiveAnon, NodeStat::ActiveAnon)
        };
        let (inactive, active) = (self.size(node, inactive), self.size(node, active));
        let gigabytes = (inactive + active) >> (30 - PAGE_SHIFT);
        let ratio = if gigabytes == 0 { 1 } else { (10 * gigabytes).isqrt() };
        inactive * ratio < active
    }

    /// Whether there is somewhere for anonymous pages to go.
    pub(super) fn can_swap(&self) -> bool {
        self.swap.free_slots() > 0
    }

    /// Looks at how the node does.
    pub(super) fn prepare(&self, scan: &mut Scan) {
        let node = scan.node;
        (scan.anon_cost, scan.file_cost) = self.vm.lru().costs(self.vm.machine().cpu(), node);
        if scan.force_deactivate {
            (scan.deactivate_anon, scan.deactivate_file) = (true, true);
        } else if let Some(before) = self.node(node) {
            let has_changed = |now, before: &core::sync::atomic::AtomicU64| {
                self.size(node, now) != before.load(Ordering::Relaxed)
            };
            scan.deactivate_anon = has_changed(NodeStat::ActivateAnon, &before.anon_refaults)
                || self.inactive_is_low(node, false);
            scan.deactivate_file = has_changed(NodeStat::ActivateFile, &before.file_refaults)
                || self.inactive_is_low(node, true);
        }
        let inactive_file = self.size(node, NodeStat::InactiveFile);
        scan.trim_cache = inactive_file >> scan.priority != 0 && !scan.deactivate_file;
        let file = inactive_file + self.size(node, NodeStat::ActiveFile);
        let zones = || self.vm.phys().zones_below(node, ZoneKind::Movable);
        let free: u64 = zones().map(Zone::free_pages).sum();
        let high: u64 = zones().map(|zone| zone.watermarks().high).sum();
        scan.file_is_tiny = file + free <= high
            && !scan.deactivate_anon
            && self.size(node, NodeStat::InactiveAnon) >> scan.priority != 0;
    }

    /// Remembers how often refaults made pages active, for the next time.
    pub(super) fn snapshot_refaults(&self, node: NodeId) {
        if let Some(at) = self.node(node) {
            at.anon_refaults.store(self.size(node, NodeStat::ActivateAnon), Ordering::Relaxed);
            at.file_refaults.store(self.size(node, NodeStat::ActivateFile), Ordering::Relaxed);
        }
    }

    fn balance(&self, scan: &Scan) -> Balance {
        let swappiness = u64::from(self.swappiness());
        if !scan.may_swap || !self.can_swap() {
            return Balance::File;
        }
        if scan.priority == 0 && swappiness != 0 {
            return Balance::Equal;
        }
        if scan.file_is_tiny {
            return Balance::Anon;
        }
        if scan.trim_cache {
            return Balance::File;
        }
        let total = scan.anon_cost + scan.file_cost;
        let (anon_cost, file_cost) = (total + scan.anon_cost, total + scan.file_cost);
        let total = anon_cost + file_cost;
        let anon = swappiness * (total + 1) / (anon_cost + 1);
        let file = (u64::from(MAX_SWAPPINESS) - swappiness) * (total + 1) / (file_cost + 1);
        if planted("vm::reclaim_replay.parts_swapped") {
            Balance::Parts(file, anon)
        } else {
            Balance::Parts(anon, file)
        }
    }

    /// How much of each list is looked at.
    pub(super) fn targets(&self, scan: &Scan) -> Targets {
        let balance = self.balance(scan);
        let target = |list: LruList| {
            let kinds = ZoneKind::ALL.into_iter().filter(|kind| *kind <= scan.highest);
            let size: u64 =
                kinds.map(|kind| self.vm.lru().in_zone(ZoneId { node: scan.node, kind }, list)).sum();
            let share = size >> scan.priority;
            match balance {
                Balance::Equal => share,
                Balance::File => {
                    if list.is_file() {
                        share
                    } else {
                        0
                    }
                }
                Balance::Anon => {
                    if list.is_file() {
                        0
                    } else {
                        share
                    }
                }
                Balance::Parts(anon, file) => {
                    let part = if list.is_file() { file } else { anon };
                    (share * part).checked_div(anon + file).unwrap_or(0)
                }
            }
        };
        Targets {
            inactive_anon: target(LruList::InactiveAnon),
            active_anon: target(LruList::ActiveAnon),
            inactive_file: target(LruList::InactiveFile),
            active_file: target(LruList::ActiveFile),
        }
    }
}
