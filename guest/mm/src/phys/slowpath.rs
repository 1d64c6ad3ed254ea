//! Allocating when the CPU's list has nothing, or the zone it prefers is short: zone by zone, mark by mark.
//!
//! Owns: the walk along the zonelist, which marks an allocation may go below, and what is tried before it fails.
//! Stays outside: reclaim and compaction, which callers add around it. Every allocation that is not a hit on the
//! CPU's lists comes through [`Phys::alloc_slow`]. Source: Linux 6.18 `mm/page_alloc.c` (`get_page_from_freelist`,
//! `__alloc_pages_slowpath`, `zone_statistics`).

use super::error::AllocError;
use super::events::Event;
use super::pcp::ListNo;
use super::watermark::{AllocFlags, Wanted};
use super::zone::Zone;
use super::{GfpFlags, Phys, Step, layout::Layout};
use crate::addr::{NodeId, Order};
use crate::frame::{FrameIdx, Owner, State, ZoneId};
use crate::port::{Cpu, Machine, TaskFlags};

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    /// The node to start from; that of the running CPU if none is named.
    pub(super) node: Option<NodeId>,
    pub(super) gfp: GfpFlags,
    pub(super) order: Order,
    /// The CPU's lists may be used.
    pub(super) cached: bool,
    /// If it fails the caller makes room and tries again, as far as the flags allow.
    pub(super) first: bool,
}

impl Attempt {
    /// Near the running CPU.
    pub(super) fn new(gfp: GfpFlags, order: Order) -> Self {
        Self { node: None, gfp, order, cached: true, first: false }
    }
}

impl<M: Machine> Phys<M> {
    /// The node of the CPU that this runs on. Only a preference: the task may have moved when it is used.
    pub(super) fn local_node(&self, layout: &Layout) -> NodeId {
        layout.topology.node_of(self.machine.cpu().id())
    }

    /// Allocates a block, zeroed if the flags say so, with all checks that are on.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slow(
        &self,
        attempt: &Attempt,
        trace: &mut dyn FnMut(Step),
    ) -> Result<FrameIdx, AllocError> {
        let task = self.machine.cpu().task_flags();
        let attempt = &Attempt { gfp: attempt.gfp.in_scope(task), ..*attempt };
        if self.debug.is_on() && self.fails_on_purpose(attempt.gfp, attempt.order) {
            return Err(AllocError::OutOfMemory);
        }
        let idx = self.alloc_plain(attempt, task, trace)?;
        self.hand_out(idx, attempt.order, attempt.gfp);
        Ok(idx)
    }

    /// Makes a block that was just taken what its user expects: zeroed if the flags say so, with all checks that are
    /// on.
    pub(super) fn hand_out(&self, idx: FrameIdx, order: Order, gfp: GfpFlags) {
        if self.debug.is_on() {
            self.hand_out_checked(idx, order, gfp);
        } else if gfp.contains(GfpFlags::__GFP_ZERO) {
            self.zero(idx, order);
        }
    }

    /// Allocates a block, as it is: above the low mark, then as far down as the flags allow, then with what other CPUs keep.
    fn alloc_plain(
        &self,
        attempt: &Attempt,
        task: TaskFlags,
        trace: &mut dyn FnMut(Step),
    ) -> Result<FrameIdx, AllocError> {
        let layout = self.layout()?;
        let Attempt { node, gfp, order, .. } = *attempt;
        let highest = gfp.zone()?;
        let node = node.unwrap_or_else(|| self.local_node(layout));
        if !layout.node(node).online {
            return Err(AllocError::BadNode);
        }
        let mut wanted = Wanted { order, highest, flags: AllocFlags::empty() };
        if let Some(idx) = self.walk_zonelist(layout, node, attempt, &wanted, trace) {
            return Ok(idx);
        }
        wanted.flags = AllocFlags::of(gfp, order);
        if wanted.flags.contains(AllocFlags::KSWAPD) {
            let is_asked = self.ask_kswapds(layout, node, attempt, &wanted);
            let cpu = self.machine.cpu();
            if is_asked && attempt.first && gfp.contains(GfpFlags::__GFP_DIRECT_RECLAIM) && cpu.can_wait() {
                // It may be this CPU that kswapd waits for.
                cpu.give_way();
            }
        }
        // Who makes room for others, or must not wait for that, may use all there is.
        let makes_room = task.contains(TaskFlags::PF_MEMALLOC);
        if (makes_room || gfp.contains(GfpFlags::__GFP_MEMALLOC)) && !gfp.contains(GfpFlags::__GFP_NOMEMALLOC)
        {
            wanted.flags.insert(AllocFlags::NO_WATERMARKS);
        }
        let is_victim = task.contains(TaskFlags::OOM_VICTIM) && !gfp.contains(GfpFlags::__GFP_NOMEMALLOC);
        wanted.flags.set(AllocFlags::OOM, is_victim);
        if let Some(idx) = self.walk_zonelist(layout, node, attempt, &wanted, trace) {
            return Ok(idx);
        }
        if gfp.intersects(GfpFlags::__GFP_RECLAIM)
            && !self.has_kswapd(node)
            && self.end_boosts(layout, node, attempt, &wanted)
            && let Some(idx) = self.walk_zonelist(layout, node, attempt, &wanted, trace)
        {
            return Ok(idx);
        }
        if gfp.intersects(GfpFlags::__GFP_DIRECT_RECLAIM) && !makes_room && !attempt.first {
            if let Some(zone) = zones(layout, node, attempt, &wanted).next() {
                self.count(zone, Event::AllocStall, 1);
            }
            self.drain_all_pages();
            self.release_reserves(layout, node, attempt, &wanted);
            if let Some(idx) = self.walk_zonelist(layout, node, attempt, &wanted, trace) {
                return Ok(idx);
            }
        }
        Err(AllocError::OutOfMemory)
    }

    /// The first zone along the zonelist of `node` that may give a block, and a block from it.
    fn walk_zonelist(
        &self,
        layout: &Layout,
        node: NodeId,
        attempt: &Attempt,
        wanted: &Wanted,
        trace: &mut dyn FnMut(Step),
    ) -> Option<FrameIdx> {
        let preferred = zones(layout, node, attempt, wanted).next()?;
        for zone in zones(layout, node, attempt, wanted) {
            let free = wanted.flags.contains(AllocFlags::NO_WATERMARKS)
                || zone.marks.above_high(&zone.counts, wanted)
                || zone.marks.at_mark(&zone.counts, wanted);
            if !free {
                continue;
            }
            if let Some(idx) = self.take_from_zone(layout, zone, attempt, wanted, trace) {
                if wanted.flags.contains(AllocFlags::HIGHATOMIC) {
                    zone.hold_back(self.machine.cpu(), &layout.ground, idx, wanted.order);
                }
                self.count(zone, Event::PgAlloc, wanted.order.pages());
                self.count_numa(layout, preferred.id(), zone, 1);
                return Some(idx);
            }
        }
        None
    }

    /// A block of one zone: through the CPU's list if such blocks are kept on one (Linux `rmqueue`).
    fn take_from_zone(
        &self,
        layout: &Layout,
        zone: &Zone,
        attempt: &Attempt,
        wanted: &Wanted,
        mut trace: &mut dyn FnMut(Step),
    ) -> Option<FrameIdx> {
        let (cpu, ground) = (self.machine.cpu(), &layout.ground);
        let (order, mt, flags) = (wanted.order, attempt.gfp.migrate_type(), wanted.flags);
        if let Some(list) = ListNo::of(order, mt).filter(|_| attempt.cached) {
            let _masked = cpu.irq_guard();
            if let Some(area) = self.pagesets.of(cpu.id()) {
                let set = area.set(zone.id().slot());
                let taken = set.pop(&ground.table, list, order);
                let idx = taken.or_else(|| zone.refill(cpu, ground, set, (list, order, mt), flags));
                if let Some(idx) = idx {
                    ground.table.frame(idx).set_state(State::allocated(order, mt, Owner::Zone));
                    return Some(idx);
                }
            }
        }
        zone.alloc(cpu, ground, order, mt, flags, &mut trace)
    }

    /// Asks kswapd of every node that may serve for room, once each (Linux `wake_all_kswapds`); whether one has to do
    /// something.
    fn ask_kswapds(&self, layout: &Layout, node: NodeId, attempt: &Attempt, wanted: &Wanted) -> bool {
        let (mut last, mut is_asked) = (None, false);
        for zone in zones(layout, node, attempt, wanted) {
            if last.replace(zone.id().node) != Some(zone.id().node) {
                is_asked |= self.ask_kswapd(zone, wanted.order, wanted.highest);
            }
        }
        is_asked
    }

    /// Ends the boosts of all zones that may serve; whether there were any. Where there is no kswapd whoever would wake it
    /// does it himself: a boost asks for room, and is no reason to fail.
    fn end_boosts(&self, layout: &Layout, node: NodeId, attempt: &Attempt, wanted: &Wanted) -> bool {
        let mut any = false;
        for zone in zones(layout, node, attempt, wanted).filter(|zone| zone.watermark_boost() > 0) {
            zone.lower_boost(self.machine.cpu(), u64::MAX);
            any = true;
        }
        any
    }

    /// Makes pageblocks that are held back available, as far as that is all that is left to try (Linux
    /// `unreserve_highatomic_pageblock`).
    fn release_reserves(&self, layout: &Layout, node: NodeId, attempt: &Attempt, wanted: &Wanted) {
        for zone in zones(layout, node, attempt, wanted) {
            if zone.let_go(self.machine.cpu(), &layout.ground, attempt.gfp.migrate_type()) {
                return;
            }
        }
    }

    /// Counts whether an allocation got the node that it wanted.
    fn count_numa(&self, layout: &Layout, preferred: ZoneId, from: &Zone, n: u64) {
        let node = from.id().node;
        let local = if node == self.local_node(layout) { Event::NumaLocal } else { Event::NumaOther };
        self.count(from, local, n);
        if node == preferred.node {
            self.count(from, Event::NumaHit, n);
        } else {
            self.count(from, Event::NumaMiss, n);
            self.count(layout.zone(preferred), Event::NumaForeign, n);
        }
    }

    /// Counts `n` events of a zone.
    pub(super) fn count(&self, zone: &Zone, event: Event, n: u64) {
        let cpu = self.machine.cpu();
        let _masked = cpu.irq_guard();
        match self.pagesets.of(cpu.id()) {
            Some(area) => area.set(zone.id().slot()).events.add(event, n),
            None => zone.events.add_shared(event, n),
        }
    }
}

/// The zones that an attempt may use, best first.
pub(super) fn zones<'a>(
    layout: &'a Layout,
    node: NodeId,
    attempt: &Attempt,
    wanted: &Wanted,
) -> impl Iterator<Item = &'a Zone> + use<'a> {
    let list = &layout.node(node).zonelist;
    let this_node = attempt.gfp.contains(GfpFlags::__GFP_THISNODE);
    let highest = wanted.highest;
    let zones = if this_node { list.local() } else { list.all() };
    zones.iter().filter(move |zone| zone.kind <= highest).map(|&id| layout.zone(id))
}
