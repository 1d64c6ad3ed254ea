//! `alloc until-fail`: takes every block there is, shows which zones gave them in which order, gives them back.
//! `alloc until-low`: takes pages until kswapd begins to make room, and waits until it has.

use super::{refused, warn_failure, zone_of};
use crate::commands::support::{Block, Ledger};
use crate::commands::{Outcome, fail};
use crate::memory::slab::FRAMES;
use crate::memory::vm::STAT;
use crate::memory::{PHYS, kswapd};
use crate::{console, task};
use mm::addr::{NodeId, Order};
use mm::frame::{ZoneId, ZoneKind};
use mm::phys::{AllocError, FrameAllocator, GfpFlags};
use mm::vmstat::VmEvent;
use shared::exit::ExitStatus;

const ZONES: usize = NodeId::MAX_NODES * ZoneKind::COUNT;

/// How many blocks each zone gave, in the order in which they were first asked.
struct Sources {
    zones: [(ZoneId, u64); ZONES],
    len: usize,
}

impl Sources {
    fn count(&mut self, zone: ZoneId) {
        if let Some((_, blocks)) = self.zones.iter_mut().take(self.len).find(|(id, _)| *id == zone) {
            *blocks += 1;
        } else if let Some(slot) = self.zones.get_mut(self.len) {
            *slot = (zone, 1);
            self.len += 1;
        }
    }
}

/// Runs it.
pub fn exhaust(node: Option<NodeId>, gfp: GfpFlags, order: Order) -> Outcome {
    let mut sources = Sources { zones: [Default::default(); ZONES], len: 0 };
    let mut blocks = Ledger::new();
    let error = loop {
        match Block::alloc_near(node, gfp, order) {
            Ok(block) => {
                sources.count(zone_of(block.pfn()));
                blocks.push(block);
            }
            Err(error) => break error,
        }
    };
    let (taken, mut freed) = (blocks.len(), 0);
    if error != AllocError::OutOfMemory {
        return Err(refused(error, gfp, order));
    }
    for (zone, blocks) in sources.zones.iter().take(sources.len) {
        console::print(format_args!(
            "zone={} node={} blocks={blocks}\n",
            zone.kind.name(),
            zone.node.index()
        ));
    }
    warn_failure(gfp, order.get().into());
    while let Some(block) = blocks.pop() {
        drop(block);
        freed += 1;
    }
    console::print(format_args!("allocated={taken} freed={freed}\n"));
    if taken == freed { Ok(()) } else { Err(fail(ExitStatus::CheckFailed, format_args!("blocks were lost"))) }
}

/// How long it may take until there is room again.
const ROOM_NS: u64 = 5_000_000_000;

/// Runs it.
pub fn until_low(gfp: GfpFlags) -> Outcome {
    let largest = || PHYS.populated_zones().max_by_key(|zone| zone.managed_pages());
    let zone = largest().ok_or_else(|| fail(ExitStatus::CheckFailed, format_args!("no zone")))?;
    // A run that goes on is not counted again.
    kswapd::settle();
    let (before, mut pages) = (STAT.event(VmEvent::PageOutRun), Ledger::new());
    while STAT.event(VmEvent::PageOutRun) == before {
        match FRAMES.alloc(gfp, Order::ZERO) {
            Ok(frames) => pages.push(Block::adopt(frames)),
            Err(error) => return Err(refused(error, gfp, Order::ZERO)),
        }
    }
    task::sleep_until(ROOM_NS, || zone.free_pages() >= zone.watermarks().high);
    console::print(format_args!(
        "taken={} pageoutrun=+{} free={} low={} high={}\n",
        pages.len(),
        STAT.event(VmEvent::PageOutRun) - before,
        zone.free_pages(),
        zone.watermarks().low,
        zone.watermarks().high
    ));
    Ok(())
}
