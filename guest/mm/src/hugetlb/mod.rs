//! Pools of huge pages: memory that is set aside in pages of one size, for those who ask for such pages only.
//!
//! Owns: which pages a pool has on each node, which of them are free, and how many of those are promised to mappings
//! (`reserve`). Stays outside: mapping them. Invariants: a page of a pool is a run of frames that the zones have handed
//! out, aligned to its size; a free one is on the list of its node, linked through its first frame; free pages are a
//! part of all pages, and reserved ones are not more than free ones.
//! Source: Linux `mm/hugetlb.c` (`struct hstate`, `alloc_pool_huge_folio`, `set_max_huge_pages`).

mod reserve;

use crate::addr::{NodeId, Order, Pfn};
use crate::frame::{FrameIdx, FrameList, FrameTable};
use crate::mutant::planted;
use crate::phys::{ExactFrames, GfpFlags, Phys};
use crate::port::Machine;
use crate::sync::SpinLock;
use core::sync::atomic::{AtomicU64, Ordering};

/// A page that was taken out of a pool.
#[must_use = "a page that is not given back is lost to its pool"]
#[derive(Debug)]
pub struct HugePage {
    pfn: Pfn,
}

impl HugePage {
    /// Its first frame.
    #[must_use]
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Gives up the handle: whoever keeps the number owns the page now.
    #[must_use = "the number is all that is left of the page"]
    pub fn into_raw(self) -> Pfn {
        self.pfn
    }

    /// Makes a handle again of what [`HugePage::into_raw`] returned.
    ///
    /// # Safety
    /// The caller owns the page that starts at `pfn`, and there is no other handle to it.
    #[must_use = "a page that is not given back is lost to its pool"]
    pub unsafe fn from_raw(pfn: Pfn) -> Self {
        Self { pfn }
    }
}

/// Pages of a pool, or of its part on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HugeCounts {
    /// All pages, free or not (`nr_hugepages`).
    pub total: u64,
    /// Pages that nobody has (`free_hugepages`).
    pub free: u64,
    /// Free pages that are promised to mappings (`resv_hugepages`). Nodes have none of their own.
    pub reserved: u64,
    /// Pages above the size that was asked for (`surplus_hugepages`): they go when they are free again.
    pub surplus: u64,
}

impl HugeCounts {
    const NONE: Self = Self { total: 0, free: 0, reserved: 0, surplus: 0 };
}

impl Inner {
    fn free(&self) -> u64 {
        self.nodes.iter().map(|part| part.counts.free).sum()
    }
}

/// The pages of one node.
struct NodePool {
    list: FrameList,
    counts: HugeCounts,
}

struct Inner {
    nodes: [NodePool; NodeId::MAX_NODES],
    reserved: u64,
    surplus: u64,
    /// How many surplus pages there may be (`nr_overcommit_hugepages`).
    overcommit: u64,
    /// The node that the next page of a pool over all nodes comes from, or goes back to.
    next: usize,
}

/// See the module documentation.
pub struct HugePool<'p, M> {
    phys: &'p Phys<M>,
    frames: u64,
    inner: SpinLock<Inner>,
    /// Pages that the buddy allocator gave, and that it had not (`htlb_buddy_alloc_success`, `_fail`).
    from_buddy: [AtomicU64; 2],
}

impl<'p, M: Machine> HugePool<'p, M> {
    /// An empty pool of pages of `frames` base pages each, a power of two.
    #[must_use]
    pub const fn new(phys: &'p Phys<M>, frames: u64) -> Self {
        let inner = Inner {
            nodes: [const { NodePool { list: FrameList::EMPTY, counts: HugeCounts::NONE } };
                NodeId::MAX_NODES],
            reserved: 0,
            surplus: 0,
            overcommit: 0,
            next: 0,
        };
        Self { phys, frames, inner: SpinLock::new(inner), from_buddy: [const { AtomicU64::new(0) }; 2] }
    }

    /// Base pages of one of its pages.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// What it has, on `node` or on all.
    pub fn counts(&self, node: Option<NodeId>) -> HugeCounts {
        let inner = self.inner.lock(self.phys.machine().cpu());
        let asked = |n: usize| node.is_none_or(|node| node.index() == n);
        let nodes = inner.nodes.iter().enumerate().filter(|(n, _)| asked(*n));
        let whole = match node {
            Some(_) => HugeCounts::NONE,
            None => HugeCounts { reserved: inner.reserved, surplus: inner.surplus, ..HugeCounts::NONE },
        };
        nodes.fold(whole, |sum, (_, part)| HugeCounts {
            total: sum.total + part.counts.total,
            free: sum.free + part.counts.free,
            ..sum
        })
    }

    /// How often the buddy allocator gave a page, and how often it had none. Pages that it has no blocks for do not count.
    pub fn from_buddy(&self) -> [u64; 2] {
        self.from_buddy.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Makes the pool on all nodes together `wanted` pages large, as far as there is memory and as far as pages are
    /// free and not promised; returns how large it is then. Nodes take turns.
    pub fn resize(&self, wanted: u64) -> u64 {
        let total = || self.counts(None).total;
        while total() < wanted && self.for_a_node(|node| self.grow(node)) {}
        while total() > wanted && self.for_a_node(|node| self.shrink(node)) {}
        total()
    }

    /// Gives the pool up to `count` pages more on `node`; returns how many.
    pub fn grow_on(&self, node: NodeId, count: u64) -> u64 {
        let mut made = 0;
        while made < count && self.grow(node) {
            made += 1;
        }
        made
    }

    /// Tries one node after the other, from where the last call has left off; whether one of them did it.
    fn for_a_node(&self, run: impl Fn(NodeId) -> bool) -> bool {
        let start = self.inner.lock(self.phys.machine().cpu()).next;
        for n in (0..NodeId::MAX_NODES).map(|n| (start + n) % NodeId::MAX_NODES) {
            if NodeId::new(n as u32).is_some_and(&run) {
                self.inner.lock(self.phys.machine().cpu()).next = (n + 1) % NodeId::MAX_NODES;
                return true;
            }
        }
        false
    }

    /// One page more on `node`.
    fn grow(&self, node: NodeId) -> bool {
        let gfp = GfpFlags::GFP_HIGHUSER_MOVABLE
            | GfpFlags::__GFP_COMP
            | GfpFlags::__GFP_RETRY_MAYFAIL
            | GfpFlags::__GFP_NOWARN
            | GfpFlags::__GFP_THISNODE;
        if self.phys.nodes().all(|other| other.id() != node) {
            return false;
        }
        let pfn = match Order::covering(self.frames) {
            Some(order) => {
                let frames = self.phys.alloc_pages_node(node, gfp, order);
                let [given, refused] = &self.from_buddy;
                if frames.is_ok() { given } else { refused }.fetch_add(1, Ordering::Relaxed);
                frames.map(|frames| frames.into_raw().0)
            }
            None => self.phys.alloc_contig_pages(gfp, self.frames, Some(node)).map(|run| run.into_raw().0),
        };
        let Ok(pfn) = pfn else { return false };
        self.put(pfn, |counts| counts.total += 1);
        true
    }

    /// Gives a free page of `node` that is not promised back to the zones.
    fn shrink(&self, node: NodeId) -> bool {
        let gone = self.get(node, |inner| inner.free() > inner.reserved, |counts| counts.total -= 1);
        if let Some(pfn) = gone {
            // A refusal would mean that the page was freed behind the pool's back; then it is not the pool's to give.
            let _ = self.phys.free_pages_exact(self.run(pfn));
        }
        gone.is_some()
    }

    /// The frames of a page that has just left the pool.
    fn run(&self, pfn: Pfn) -> ExactFrames<'p> {
        // SAFETY: the page was taken off the list of its node, so it is the caller's alone, and `grow` allocated it with
        // that many frames.
        unsafe { self.phys.exact_from_raw(pfn, self.frames) }
    }

    /// Takes a free page, of `node` if it has one, else of the nearest that has.
    pub fn take(&self, node: NodeId) -> Option<HugePage> {
        let topology = self.phys.topology()?;
        let mut nodes = [NodeId::ZERO; NodeId::MAX_NODES];
        let mut count = 0;
        for (slot, id) in nodes.iter_mut().zip(self.phys.nodes().map(|node| node.id())) {
            *slot = id;
            count += 1;
        }
        let nodes = nodes.get_mut(..count)?;
        nodes.sort_unstable_by_key(|other| topology.distance(node, *other));
        nodes.iter().find_map(|node| self.get(*node, |_| true, |_| ())).map(|pfn| HugePage { pfn })
    }

    /// Takes a page back.
    pub fn give(&self, page: HugePage) {
        self.put(page.pfn, |_| ());
    }

    /// Puts a page on the list of its node.
    fn put(&self, pfn: Pfn, count: impl FnOnce(&mut HugeCounts)) {
        let Some((table, idx, node)) = self.place(pfn) else { return };
        let mut inner = self.inner.lock(self.phys.machine().cpu());
        if let Some(part) = inner.nodes.get_mut(node) {
            part.list.push_front(table, idx);
            part.counts.free += 1;
            count(&mut part.counts);
        }
    }

    /// Takes a page off the list of a node.
    fn get(
        &self,
        node: NodeId,
        allowed: impl FnOnce(&Inner) -> bool,
        count: impl FnOnce(&mut HugeCounts),
    ) -> Option<Pfn> {
        let table = self.phys.frame_table()?;
        let mut inner = self.inner.lock(self.phys.machine().cpu());
        if !allowed(&inner) {
            return None;
        }
        let part = inner.nodes.get_mut(node.index())?;
        let idx = part.list.first()?;
        if !planted("hugetlb.page_stays_listed") {
            part.list.remove(table, idx);
        }
        part.counts.free -= 1;
        count(&mut part.counts);
        Some(idx.pfn())
    }

    fn place(&self, pfn: Pfn) -> Option<(&'p FrameTable, FrameIdx, usize)> {
        let table = self.phys.frame_table()?;
        let (idx, block) = table.lookup(pfn)?;
        Some((table, idx, block.zone().node.index()))
    }
}
