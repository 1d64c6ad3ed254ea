//! Reclaim that waits until pages are written, because all that it finds are (Linux `VMSCAN_THROTTLE_WRITEBACK`,
//! `__acct_reclaim_writeback`).

use super::{Lru, TAKEN};
use crate::addr::NodeId;
use crate::port::Cpu;
use crate::sync::Gate;
use crate::vmstat::NodeStat;
use core::sync::atomic::{AtomicU64, Ordering};

/// Who waits for writes of a node.
#[derive(Default)]
pub(super) struct Writes {
    gate: Gate,
    /// What [`NodeStat::ThrottledWritten`] was when the first began to wait.
    start: AtomicU64,
}

impl Writes {
    pub(super) const fn new() -> Self {
        Self { gate: Gate::new(), start: AtomicU64::new(0) }
    }
}

impl Lru<'_> {
    /// `pages` pages of a node were written: whoever waits for that goes on when there are a few for each.
    #[inline]
    pub(crate) fn written<C: Cpu>(&self, cpu: &C, node: NodeId, pages: u64) {
        if let Some(writes) = self.node(node).map(|held| &held.writes)
            && writes.gate.waiting() != 0
        {
            self.written_for(cpu, node, writes, pages);
        }
    }

    #[cold]
    fn written_for<C: Cpu>(&self, cpu: &C, node: NodeId, writes: &Writes, pages: u64) {
        self.stat().grow(cpu, node, NodeStat::ThrottledWritten, pages);
        let written = self.stat().on_node(node, NodeStat::ThrottledWritten);
        let since = written.saturating_sub(writes.start.load(Ordering::Relaxed));
        if since > TAKEN as u64 * u64::from(writes.gate.waiting()) {
            writes.gate.open(cpu);
        }
    }

    /// Waits until pages of a node were written, for at most `ns` nanoseconds.
    pub(crate) fn wait_for_writes<C: Cpu>(&self, cpu: &C, node: NodeId, ns: u64) {
        let Some(writes) = self.node(node).map(|held| &held.writes) else { return };
        if writes.gate.waiting() == 0 {
            writes.start.store(self.stat().on_node(node, NodeStat::ThrottledWritten), Ordering::Relaxed);
        }
        writes.gate.wait(cpu, ns);
    }
}
