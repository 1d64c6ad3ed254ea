//! Shrinking a node: its lists by turns, and what shrinkers keep (Linux `shrink_node`, `shrink_lruvec`,
//! `shrink_active_list`).

use super::pace::Seen;
use super::scan::Targets;
use super::{CLUSTER, Reclaim, Scan};
use crate::folio::{FolioFlags, Mapping};
use crate::lru::LruList;
use crate::port::{Cpu, Machine};
use crate::vma::VmFlags;
use crate::vmstat::VmEvent;

impl<'p, M: Machine> Reclaim<'p, M> {
    /// Takes pages of the node of `scan`; whether there were any.
    pub(super) fn shrink_node(&self, scan: &mut Scan) -> bool {
        let before = scan.reclaimed;
        scan.seen = Seen::default();
        self.prepare(scan);
        self.shrink_lists(scan);
        let cpu = self.vm.machine().cpu();
        self.shrinkers.shrink_slab(cpu, scan.gfp, scan.node, scan.priority);
        self.keep_pace(scan);
        let any = scan.reclaimed > before;
        if any {
            self.vm.phys().kswapd_found(scan.node, true);
        }
        any
    }

    fn shrink_lists(&self, scan: &mut Scan) {
        let all = self.targets(scan);
        let mut left = all;
        let wanted = scan.wanted;
        // Who makes room for himself looks at all lists alike at first, so that each keeps its part.
        let in_proportion = !scan.by_kswapd && scan.priority == super::DEF_PRIORITY;
        let mut reclaimed = 0;
        while left.inactive_anon != 0 || left.active_file != 0 || left.inactive_file != 0 {
            for (list, left) in [
                (LruList::InactiveAnon, &mut left.inactive_anon),
                (LruList::ActiveAnon, &mut left.active_anon),
                (LruList::InactiveFile, &mut left.inactive_file),
                (LruList::ActiveFile, &mut left.active_file),
            ] {
                let pages = CLUSTER.min(*left);
                *left -= pages;
                if pages != 0 {
                    reclaimed += self.shrink_list(scan, list, pages);
                }
            }
            if reclaimed < wanted || in_proportion {
                continue;
            }
            if left.file() == 0 || left.anon() == 0 {
                break;
            }
            keep_proportion(&all, &mut left);
        }
        scan.reclaimed += reclaimed;
        // Their proportion matters as long as there is swap at all, full or not.
        if self.swap.total_slots() != 0 && self.inactive_is_low(scan.node, false) {
            self.shrink_active(scan, LruList::ActiveAnon, CLUSTER);
        }
    }

    fn shrink_list(&self, scan: &mut Scan, list: LruList, pages: u64) -> u64 {
        let may_deactivate = match list {
            LruList::ActiveAnon => scan.deactivate_anon,
            LruList::ActiveFile => scan.deactivate_file,
            _ => return self.shrink_inactive(scan, list, pages),
        };
        if may_deactivate {
            self.shrink_active(scan, list, pages);
        } else {
            scan.spared = true;
        }
        0
    }

    /// Makes active pages inactive. Whether they were used shows when they are looked at there.
    fn shrink_active(&self, scan: &Scan, list: LruList, pages: u64) {
        let (lru, cpu, stat) = (self.vm.lru(), self.vm.machine().cpu(), self.vm.stat());
        let Some(table) = self.vm.frame_table() else { return };
        lru.drain(cpu, table);
        let taken = lru.take(cpu, table, (scan.node, list), (pages, scan.highest));
        stat.count(cpu, VmEvent::PgRefill, taken.scanned);
        let (mut deactivated, mut rotated) = (0, 0);
        // From the oldest on, so that the youngest comes to the head last.
        for folio in taken.iter() {
            let is_used_code = || {
                // Who has a page of a file or of shared memory locked is about to say himself what becomes of it.
                let must_lock = !matches!(folio.mapping(), Mapping::Anon(_));
                if must_lock && !folio.try_lock() {
                    return false;
                }
                let referenced = self.referenced(folio);
                if must_lock {
                    folio.unlock(cpu);
                }
                list.is_file() && referenced.entries != 0 && referenced.flags.contains(VmFlags::EXEC)
            };
            if folio.flags().contains(FolioFlags::UNEVICTABLE) {
                self.give_back(cpu, folio);
                continue;
            }
            if is_used_code() {
                rotated += folio.order().pages();
            } else {
                folio.clear_flags(FolioFlags::ACTIVE);
                folio.set_flags(FolioFlags::WORKINGSET);
                deactivated += folio.order().pages();
            }
            self.give_back(cpu, folio);
        }
        self.vm.end_left();
        // Those that stay active are as much used as those that became active.
        lru.age(scan.node, rotated);
        stat.count(cpu, VmEvent::PgDeactivate, deactivated);
        lru.note_cost(cpu, scan.node, list.is_file(), 0, rotated);
    }

    /// Puts a folio on the list that its flags say, and gives our reference back.
    pub(super) fn give_back(&self, cpu: &impl Cpu, folio: crate::folio::Folio<'p>) {
        self.vm.lru().putback(cpu, folio);
        if folio.put(1) {
            self.vm.free_folio(folio);
        }
    }
}

/// Enough was taken: the kind of which less is left to look at is done with, and of the other as much is looked at as was
/// of this, in proportion.
fn keep_proportion(all: &Targets, left: &mut Targets) {
    let less = |left: u64, of: u64| {
        let scanned = of - left;
        move |percent: u64| (of * (100 - percent) / 100).saturating_sub(scanned)
    };
    if left.file() > left.anon() {
        let percent = left.anon() * 100 / (all.anon() + 1);
        (left.inactive_anon, left.active_anon) = (0, 0);
        left.inactive_file = less(left.inactive_file, all.inactive_file)(percent);
        left.active_file = less(left.active_file, all.active_file)(percent);
    } else {
        let percent = left.file() * 100 / (all.file() + 1);
        (left.inactive_file, left.active_file) = (0, 0);
        left.inactive_anon = less(left.inactive_anon, all.inactive_anon)(percent);
        left.active_anon = less(left.active_anon, all.active_anon)(percent);
    }
}
