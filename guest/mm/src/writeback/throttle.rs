//! Slowing writers down (Linux `balance_dirty_pages`).

use crate::cache::Inode;
use crate::dirty::pause;
use crate::port::{Cpu, Machine};
use crate::space::Vm;
use crate::vmstat::NodeStat;

/// Pages that are written between two looks (Linux `ratelimit_pages`): so many may be dirty beyond the limit.
const LOOK_EVERY: u64 = 8;
/// The shortest pause that is worth it.
const MIN_PAUSE: u64 = 1_000_000;

impl<'p, M: Machine> Vm<'p, M> {
    /// Somebody is about to make a page of `inode` dirty: he waits if too much is.
    pub(super) fn throttle_writer(&self, inode: &Inode<'p>) {
        let throttle = &self.cache().dirty().throttle;
        let since = throttle.one_more();
        if since < LOOK_EVERY {
            return;
        }
        throttle.looked();
        let (cpu, mut pages) = (self.machine().cpu(), since);
        loop {
            let (limits, dirty) = (self.dirty_limits(), self.dirty_pages());
            if dirty > limits.background {
                self.wake_flushers();
            }
            if dirty <= limits.freerun() && dirty < limits.limit {
                return;
            }
            let rate = throttle.rate(cpu, cpu.now(), self.stat().total(NodeStat::Written));
            let ns = pause(&limits, dirty, pages, rate);
            if dirty < limits.limit && ns < MIN_PAUSE {
                return;
            }
            throttle.pauses();
            self.cache().io().poll(inode.fs().device());
            cpu.wait_for(ns.max(MIN_PAUSE));
            if self.dirty_pages() < self.dirty_limits().limit {
                return;
            }
            pages = LOOK_EVERY;
        }
    }
}
