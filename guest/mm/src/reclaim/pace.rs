//! Not looking faster than disks write (Linux `reclaim_throttle`, `consider_reclaim_throttle`, `too_many_isolated`).
//!
//! Owns: when reclaim sleeps, how long, and who ends that. Invariants: nobody sleeps with a lock held, and none longer
//! than a tenth of a second at a time.

use super::{Reclaim, Scan};
use crate::addr::NodeId;
use crate::frame::ZoneKind;
use crate::phys::{GfpFlags, MAX_FAILURES};
use crate::port::{Cpu, Machine};
use crate::sync::Gate;
use crate::vmstat::NodeStat;
use core::sync::atomic::{AtomicBool, Ordering};

/// A tick of Linux with `CONFIG_HZ=250`.
const TICK_NS: u64 = 4_000_000;
/// The longest wait for pages that are written.
const WRITEBACK_NS: u64 = 100_000_000;
/// The longest wait for those who have taken many pages.
const ISOLATED_NS: u64 = 20_000_000;

/// Who waits on a node, and for what.
#[derive(Default)]
pub(super) struct Pace {
    isolated: Gate,
    no_progress: Gate,
    /// All pages at the end of a list were being written (Linux `PGDAT_WRITEBACK`).
    is_writing: AtomicBool,
    /// All dirty pages there were being written, and had been seen before (Linux `LRUVEC_NODE_CONGESTED`).
    is_congested: AtomicBool,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self {
            isolated: Gate::new(),
            no_progress: Gate::new(),
            is_writing: AtomicBool::new(false),
            is_congested: AtomicBool::new(false),
        }
    }
}

/// What inactive pages that were looked at did there (Linux `struct reclaim_stat`).
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) taken: u64,
    /// Pages of files that are dirty or being written.
    pub(super) dirty: u64,
    /// Dirty ones that nobody writes yet.
    pub(super) unqueued: u64,
    /// Ones of files that are still being written since the last look.
    pub(super) congested: u64,
    /// Pages that are being written.
    pub(super) writeback: u64,
    /// Those of them that come round again while all others there are being written, too.
    pub(super) immediate: u64,
}

impl Seen {
    pub(super) fn add(&mut self, more: &Self) {
        self.taken += more.taken;
        self.dirty += more.dirty;
        self.unqueued += more.unqueued;
        self.congested += more.congested;
        self.writeback += more.writeback;
        self.immediate += more.immediate;
    }
}

impl<'p, M: Machine> Reclaim<'p, M> {
    fn pace(&self, node: NodeId) -> Option<&Pace> {
        self.node(node).map(|node| &node.pace)
    }

    /// Whether all pages at the end of a list of `node` were being written.
    pub(super) fn is_writing(&self, node: NodeId) -> bool {
        self.pace(node).is_some_and(|pace| pace.is_writing.load(Ordering::Relaxed))
    }

    /// `node` has room: who comes next looks at it afresh (Linux `clear_pgdat_congested`).
    pub(super) fn clear_congested(&self, node: NodeId) {
        if let Some(pace) = self.pace(node) {
            pace.is_writing.store(false, Ordering::Relaxed);
            pace.is_congested.store(false, Ordering::Relaxed);
        }
    }

    /// So many pages are in the hands of those who make room that another would find none (Linux `too_many_isolated`).
    fn too_many_isolated(&self, scan: &Scan, is_file: bool) -> bool {
        if scan.by_kswapd {
            return false;
        }
        let (inactive, isolated) = if is_file {
            (NodeStat::InactiveFile, NodeStat::IsolatedFile)
        } else {
            (NodeStat::InactiveAnon, NodeStat::IsolatedAnon)
        };
        let (mut inactive, isolated) = (self.size(scan.node, inactive), self.size(scan.node, isolated));
        // Who may do less takes more, so that those who may do all never wait for themselves.
        if scan.gfp.contains(GfpFlags::__GFP_IO | GfpFlags::__GFP_FS) {
            inactive >>= 3;
        }
        let too_many = isolated > inactive;
        if !too_many && let Some(pace) = self.pace(scan.node) {
            pace.isolated.open(self.vm.machine().cpu());
        }
        too_many
    }

    /// Waits for others who have taken most pages, once; whether there is something to look at.
    pub(super) fn await_isolated(&self, scan: &Scan, is_file: bool) -> bool {
        if !self.too_many_isolated(scan, is_file) {
            return true;
        }
        if let Some(pace) = self.pace(scan.node) {
            pace.isolated.wait(self.vm.machine().cpu(), ISOLATED_NS);
        }
        !self.too_many_isolated(scan, is_file)
    }

    /// The lists of a node were looked at: waits if all that was there is being written (the end of Linux's `shrink_node`).
    pub(super) fn keep_pace(&self, scan: &Scan) {
        let Some(pace) = self.pace(scan.node) else { return };
        let (cpu, seen) = (self.vm.machine().cpu(), &scan.seen);
        if scan.by_kswapd {
            if seen.writeback != 0 && seen.writeback == seen.taken {
                pace.is_writing.store(true, Ordering::Relaxed);
            }
            if seen.immediate != 0 {
                self.swap.poll();
                self.vm.lru().wait_for_writes(cpu, scan.node, WRITEBACK_NS);
            }
            if seen.dirty != 0 && seen.dirty == seen.congested {
                pace.is_congested.store(true, Ordering::Relaxed);
            }
        } else if pace.is_congested.load(Ordering::Relaxed) {
            self.pause(scan.node);
        }
    }

    /// Whoever makes room for himself found little: he waits before he looks at everything (Linux
    /// `consider_reclaim_throttle`).
    pub(super) fn consider_pause(&self, scan: &Scan) {
        if scan.reclaimed > scan.scanned >> 3 {
            if let Some(pace) = self.pace(scan.node) {
                pace.no_progress.open(self.vm.machine().cpu());
            }
        } else if scan.priority == 1 && scan.reclaimed == 0 {
            self.pause(scan.node);
        }
    }

    /// Whether `pages` are more than half of all that could be taken from `node`.
    fn is_most(&self, node: NodeId, pages: u64) -> bool {
        let zones = self.vm.phys().zones_below(node, ZoneKind::Movable);
        let reclaimable: u64 = zones.map(|zone| self.reclaimable(zone)).sum();
        2 * pages > reclaimable
    }

    /// Waits a tick, if much is dirty or being written: that others get on is what helps (Linux
    /// `skip_throttle_noprogress`).
    fn pause(&self, node: NodeId) {
        let pending = self.size(node, NodeStat::Dirty) + self.size(node, NodeStat::Writeback);
        if self.vm.phys().kswapd_failures(node) < MAX_FAILURES && self.is_most(node, pending) {
            self.wait_a_tick(node);
        } else {
            self.vm.machine().cpu().give_way();
        }
    }

    /// Nothing was found: waits before the next look, which finds no more if it comes at once. While most pages are on their way
    /// to a disk only the disk helps, however slow it is: a tick says nothing then (Linux 4.7 to 5.15, `should_reclaim_retry`).
    pub(super) fn await_progress(&self, node: NodeId) {
        if self.is_most(node, self.size(node, NodeStat::Writeback)) {
            self.swap.poll();
            self.vm.lru().wait_for_writes(self.vm.machine().cpu(), node, WRITEBACK_NS);
        } else {
            self.wait_a_tick(node);
        }
    }

    /// Waits a tick, unless somebody finds something.
    pub(super) fn wait_a_tick(&self, node: NodeId) {
        self.swap.poll();
        if let Some(pace) = self.pace(node) {
            pace.no_progress.wait(self.vm.machine().cpu(), TICK_NS);
        }
    }
}
