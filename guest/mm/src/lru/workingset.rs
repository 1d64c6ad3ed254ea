//! Pages that come back soon after they went (Linux `mm/workingset.c`, 6.18).
//!
//! Every page that is taken away, and every one that becomes active, makes the node older by one. What is left of a page
//! that was taken away, its shadow, says how old the node was. When it comes back, the difference is how many pages were
//! used meanwhile that it would have had to outlive: if all active pages are more than that, it would have stayed, had
//! it been active. Ages are kept whole: there are bits for more pages than a machine reads in its life, so Linux's
//! `bucket_order` is 0 here, and there is no memory control group to name.

use super::Lru;
use crate::addr::NodeId;
use crate::folio::{Folio, FolioFlags};
use crate::mutant::planted;
use crate::port::Cpu;
use crate::vmstat::NodeStat;
use crate::xarray::Entry;
use core::sync::atomic::{AtomicU64, Ordering};

const WORKINGSET_BITS: u32 = 1;
const NODE_BITS: u32 = NodeId::MAX_NODES.ilog2();
const AGE_BITS: u32 = 63 - NODE_BITS - WORKINGSET_BITS;
const AGE_MASK: u64 = (1 << AGE_BITS) - 1;
/// What a page that had to be read costs, in pages that were looked at (Linux `SWAP_CLUSTER_MAX`).
const IO_COST: u64 = 32;

/// What a shadow says.
struct Shadow {
    node: NodeId,
    age: u64,
    workingset: bool,
}

impl Shadow {
    fn pack(&self) -> Option<Entry> {
        let value = (self.age & AGE_MASK) << NODE_BITS | self.node.index() as u64;
        Entry::value(value << WORKINGSET_BITS | u64::from(self.workingset))
    }

    fn unpack(entry: Entry) -> Option<Self> {
        let value = entry.as_value()?;
        let rest = value >> WORKINGSET_BITS;
        let node = NodeId::new(rest as u32 & ((1 << NODE_BITS) - 1))?;
        Some(Self { node, age: rest >> NODE_BITS, workingset: value & 1 != 0 })
    }
}

impl Lru<'_> {
    /// `pages` more pages of a node were taken away or became active (Linux `workingset_age_nonresident`).
    pub(crate) fn age(&self, node: NodeId, pages: u64) {
        if let Some(node) = self.node(node) {
            node.age.fetch_add(pages, Ordering::Relaxed);
        }
    }

    /// A folio is taken away: what to leave in its place (Linux `workingset_eviction`).
    pub(crate) fn eviction(&self, folio: Folio<'_>) -> Option<Entry> {
        let node = folio.node();
        let age = self.node(node)?.age.fetch_add(folio.order().pages(), Ordering::Relaxed);
        Shadow { node, age, workingset: folio.flags().contains(FolioFlags::WORKINGSET) }.pack()
    }

    /// A folio, which is on no list yet, comes where `shadow` was left (Linux `workingset_refault`).
    pub(crate) fn refault<C: Cpu>(&self, cpu: &C, folio: Folio<'_>, shadow: Entry) {
        let Some(shadow) = Shadow::unpack(shadow) else { return };
        let (file, node, pages) = (is_file(folio), folio.node(), folio.order().pages());
        let count = |anon, of_file| self.stat.grow(cpu, node, if file { of_file } else { anon }, pages);
        count(NodeStat::RefaultAnon, NodeStat::RefaultFile);
        if !self.is_recent(&shadow, file) {
            return;
        }
        folio.set_flags(FolioFlags::ACTIVE);
        self.age(node, pages);
        count(NodeStat::ActivateAnon, NodeStat::ActivateFile);
        if shadow.workingset {
            folio.set_flags(FolioFlags::WORKINGSET);
            // As Linux does: here and not where the page is read, for a page that was not in use costs nothing to lose.
            self.note_cost(cpu, node, file, pages, 0);
            count(NodeStat::RestoreAnon, NodeStat::RestoreFile);
        }
    }

    /// Whether a page would have stayed if it had been active (Linux `workingset_test_recent`).
    fn is_recent(&self, shadow: &Shadow, file: bool) -> bool {
        let Some(node) = self.node(shadow.node) else { return false };
        let distance = node.age.load(Ordering::Relaxed).wrapping_sub(shadow.age) & AGE_MASK;
        let size = |stat| self.stat.on_node(shadow.node, stat);
        let mut workingset = size(NodeStat::ActiveFile);
        if !file {
            workingset += size(NodeStat::InactiveFile);
        }
        if self.swap_pages() > 0 {
            workingset += size(NodeStat::ActiveAnon);
            if file {
                workingset += size(NodeStat::InactiveAnon);
            }
        }
        distance <= workingset && !planted("vm::reclaim_replay.nothing_comes_back")
    }

    /// Free pages of swap areas (Linux `nr_swap_pages`): whether there is somewhere for anonymous pages to go.
    pub fn swap_pages(&self) -> u64 {
        self.swap_pages.load(Ordering::Relaxed)
    }

    /// The same, for swap to keep: refaults go by it, too.
    pub(crate) fn swap_free(&self) -> &AtomicU64 {
        &self.swap_pages
    }

    /// Reclaiming pages of a kind has cost `io` pages that were read or written and `rotated` that were looked at in vain
    /// (Linux `lru_note_cost`).
    pub(crate) fn note_cost<C: Cpu>(&self, cpu: &C, node: NodeId, file: bool, io: u64, rotated: u64) {
        let cost = io * IO_COST + rotated;
        let file = file != planted("vm::reclaim_replay.costs_swapped");
        let Some(held) = self.node(node).filter(|_| cost != 0) else { return };
        let mut lists = held.lists.lock(cpu);
        if file {
            lists.file_cost += cost;
        } else {
            lists.anon_cost += cost;
        }
        let evictable =
            [NodeStat::InactiveAnon, NodeStat::ActiveAnon, NodeStat::InactiveFile, NodeStat::ActiveFile];
        let pages: u64 = evictable.into_iter().map(|stat| self.stat.on_node(node, stat)).sum();
        if lists.file_cost + lists.anon_cost > pages / 4 {
            lists.file_cost /= 2;
            lists.anon_cost /= 2;
        }
    }

    /// What reclaiming has cost lately: of anonymous pages, and of pages of files.
    pub(crate) fn costs<C: Cpu>(&self, cpu: &C, node: NodeId) -> (u64, u64) {
        self.node(node).map_or((0, 0), |node| {
            let lists = node.lists.lock(cpu);
            (lists.anon_cost, lists.file_cost)
        })
    }
}

/// Whether a folio is on the lists of files (Linux `folio_is_file_lru`).
pub(crate) fn is_file(folio: Folio<'_>) -> bool {
    !folio.flags().contains(FolioFlags::SWAPBACKED)
}
