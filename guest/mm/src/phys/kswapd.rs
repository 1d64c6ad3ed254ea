//! Asking a node's kswapd for room, and whether there is enough (Linux `wakeup_kswapd`, `pgdat_balanced`).
//!
//! Owns: what kswapd of each node was asked for. Stays outside: kswapd (`reclaim`). Invariants: what is asked for is
//! noted before kswapd is woken, and kswapd looks at it before it sleeps, so nothing is missed.

use super::watermark::{AllocFlags, Wanted};
use super::{Phys, Zone};
use crate::addr::{NodeId, Order};
use crate::frame::ZoneKind;
use crate::port::{Cpu, Machine};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Times that nothing was found in a row, after which kswapd gives up until somebody else finds something (Linux
/// `MAX_RECLAIM_RETRIES`).
pub(crate) const MAX_FAILURES: u32 = 16;

/// What kswapd of a node knows.
pub(super) struct Asked {
    /// Order and highest zone that somebody wants, in one word, plus one; 0 for nothing.
    wish: AtomicU32,
    runs: AtomicBool,
    /// It does what it was asked for.
    is_working: AtomicBool,
    failures: AtomicU32,
}

impl Asked {
    pub(super) const fn new() -> Self {
        Self {
            wish: AtomicU32::new(0),
            runs: AtomicBool::new(false),
            is_working: AtomicBool::new(false),
            failures: AtomicU32::new(0),
        }
    }
}

const KIND_BITS: u32 = 8;

impl<M: Machine> Phys<M> {
    fn asked(&self, node: NodeId) -> Option<&Asked> {
        self.kswapd.get(node.index())
    }

    /// What kswapd of `node` sleeps on.
    pub(crate) fn kswapd_key(&self, node: NodeId) -> u64 {
        self.asked(node).map_or(0, |asked| core::ptr::from_ref(asked).addr() as u64)
    }

    /// From now on there is a kswapd on `node`.
    pub(crate) fn kswapd_starts(&self, node: NodeId) {
        self.asked(node).into_iter().for_each(|asked| asked.runs.store(true, Ordering::Release));
    }

    /// Whether there is a kswapd on `node`.
    pub(super) fn has_kswapd(&self, node: NodeId) -> bool {
        self.asked(node).is_some_and(|asked| asked.runs.load(Ordering::Acquire))
    }

    /// Times in a row that nothing was found on `node`.
    pub(crate) fn kswapd_failures(&self, node: NodeId) -> u32 {
        self.asked(node).map_or(0, |asked| asked.failures.load(Ordering::Relaxed))
    }

    /// Something was found on `node`, or nothing.
    pub(crate) fn kswapd_found(&self, node: NodeId, any: bool) {
        let Some(asked) = self.asked(node) else { return };
        let failures = if any { 0 } else { asked.failures.load(Ordering::Relaxed).saturating_add(1) };
        asked.failures.store(failures, Ordering::Relaxed);
    }

    /// Whether kswapd of `node` was asked for something.
    pub(crate) fn is_kswapd_asked(&self, node: NodeId) -> bool {
        self.asked(node).is_some_and(|asked| asked.wish.load(Ordering::Acquire) != 0)
    }

    /// Whether kswapd of `node` was asked for something and has not done it yet.
    pub(crate) fn is_kswapd_busy(&self, node: NodeId) -> bool {
        self.is_kswapd_asked(node)
            || self.asked(node).is_some_and(|asked| asked.is_working.load(Ordering::Acquire))
    }

    /// kswapd of `node` has done what it was asked for.
    pub(crate) fn kswapd_rests(&self, node: NodeId) {
        self.asked(node).into_iter().for_each(|asked| asked.is_working.store(false, Ordering::Release));
    }

    /// What kswapd of `node` was asked for, once; it works on that until it rests.
    pub(crate) fn take_wish(&self, node: NodeId) -> Option<(Order, ZoneKind)> {
        let asked = self.asked(node)?;
        // Before the wish is gone: somebody who sees neither must be right.
        asked.is_working.store(true, Ordering::Release);
        let wish = asked.wish.swap(0, Ordering::AcqRel).checked_sub(1)?;
        let kind = ZoneKind::ALL.get(wish as usize & ((1 << KIND_BITS) - 1))?;
        Some((Order::new(wish >> KIND_BITS)?, *kind))
    }

    /// Asks kswapd of the node of `zone` for blocks of `order` in zones up to `highest`, unless there are some;
    /// whether it has to do something.
    #[cold]
    pub(super) fn ask_kswapd(&self, zone: &Zone, order: Order, highest: ZoneKind) -> bool {
        let node = zone.id().node;
        let Some(asked) = self.asked(node).filter(|_| self.has_kswapd(node)) else { return false };
        let is_hopeless = self.kswapd_failures(node) >= MAX_FAILURES;
        if is_hopeless || self.is_balanced(node, order, highest) && !self.is_boosted(node, highest) {
            return false;
        }
        let wish = (order.get() << KIND_BITS | highest.index() as u32) + 1;
        if asked.wish.fetch_max(wish, Ordering::AcqRel) == 0 {
            self.machine.cpu().wake(self.kswapd_key(node));
        }
        true
    }

    /// kswapd of `node` was not done, and asks itself.
    pub(crate) fn ask_again(&self, node: NodeId, order: Order, highest: ZoneKind) {
        let wish = (order.get() << KIND_BITS | highest.index() as u32) + 1;
        if let Some(asked) = self.asked(node) {
            asked.wish.fetch_max(wish, Ordering::AcqRel);
        }
    }

    /// Whether a zone of `node` up to `highest` has a raised mark.
    fn is_boosted(&self, node: NodeId, highest: ZoneKind) -> bool {
        self.zones_below(node, highest).any(|zone| zone.watermark_boost() > 0)
    }

    /// The zones of `node` up to `highest` that have memory.
    pub(crate) fn zones_below(&self, node: NodeId, highest: ZoneKind) -> impl Iterator<Item = &Zone> {
        let zones = self.node(node).into_iter().flat_map(super::Node::zones);
        zones.filter(move |zone| zone.id().kind <= highest && zone.managed_pages() > 0)
    }

    /// Whether a zone of `node` up to `highest` could give a block of `order` and have its high mark free.
    pub(crate) fn is_balanced(&self, node: NodeId, order: Order, highest: ZoneKind) -> bool {
        let mut any = false;
        let wanted = Wanted { order, highest, flags: AllocFlags::empty() };
        for zone in self.zones_below(node, highest) {
            any = true;
            if zone.marks.has_high(&zone.counts, &wanted) {
                return true;
            }
        }
        !any
    }

    /// Whether `zone` has its high mark free for allocations from zones up to `highest`.
    pub(crate) fn is_above_high(&self, zone: &Zone, highest: ZoneKind) -> bool {
        zone.marks.has_high(&zone.counts, &Wanted { order: Order::ZERO, highest, flags: AllocFlags::empty() })
    }

    /// The zones that an allocation near the running CPU may come from, best first.
    pub(crate) fn zones_for(&self, highest: ZoneKind) -> impl Iterator<Item = &Zone> {
        let layout = self.layout.get();
        let list = layout.map(|layout| layout.node(self.local_node(layout)).zonelist.all());
        let ids = list.unwrap_or_default().iter().filter(move |id| id.kind <= highest);
        ids.filter_map(move |&id| layout.map(|layout| layout.zone(id)))
    }

    /// Whether `zone` could give a block of `order` above its minimum if `pages` pages were free.
    pub(crate) fn would_serve(&self, zone: &Zone, order: Order, highest: ZoneKind, pages: u64) -> bool {
        let wanted = Wanted { order, highest, flags: AllocFlags::WMARK_MIN };
        zone.marks.would_do(&zone.counts, pages, &wanted)
    }

    /// Somebody who wants memory of `zone` makes room himself.
    pub(crate) fn count_stall(&self, zone: &Zone) {
        self.count(zone, super::Event::AllocStall, 1);
    }

    /// Lowers the raised marks of `zone` by `pages`, for which room was made.
    pub(crate) fn settle_boost(&self, zone: &Zone, pages: u64) {
        zone.lower_boost(self.machine.cpu(), pages);
    }
}
