//! Numbers of zones that are spread over CPUs, put together.
//!
//! Owns: adding them up. Invariants: every number is what the CPUs had written a moment ago.

use super::events::Event;
use super::{Phys, Zone};
use crate::port::{CpuId, Machine};

/// What one CPU keeps of a zone (`pagesets` of `/proc/zoneinfo`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PagesetInfo {
    /// The CPU.
    pub cpu: CpuId,
    /// Pages on its lists.
    pub count: u32,
    /// How long they may be now.
    pub high: u32,
    /// Pages moved at once.
    pub batch: u32,
    /// `high` never falls below this.
    pub high_min: u32,
    /// `high` never rises above this.
    pub high_max: u32,
}

impl<M: Machine> Phys<M> {
    /// How often something has happened in a zone since boot.
    pub fn events(&self, zone: &Zone, event: Event) -> u64 {
        let slot = zone.id().slot();
        let cpus: u64 = self.pagesets.iter().map(|(_, area)| area.set(slot).events.count(event)).sum();
        zone.events.count(event).wrapping_add(cpus)
    }

    /// What each CPU keeps of a zone, in the order of the CPUs.
    pub fn pagesets(&self, zone: &Zone) -> impl Iterator<Item = PagesetInfo> {
        let slot = zone.id().slot();
        self.pagesets.iter().map(move |(cpu, area)| {
            let set = area.set(slot);
            let limits = set.limits();
            PagesetInfo {
                cpu,
                count: set.count(),
                high: set.high(),
                batch: limits.batch,
                high_min: limits.high_min,
                high_max: limits.high_max,
            }
        })
    }

    /// Pages that CPUs keep on their lists: neither free in a zone nor allocated.
    pub fn cached_pages(&self) -> u64 {
        self.populated_zones().flat_map(|zone| self.pagesets(zone)).map(|set| u64::from(set.count)).sum()
    }

    /// Changes of a zone's counters that a CPU may keep to itself (`vm stats threshold`, Linux
    /// `calculate_normal_threshold`).
    pub fn stat_threshold(&self, zone: &Zone) -> u32 {
        let bits = |n: u64| n.checked_ilog2().map_or(0, |log| log + 1);
        let cpus = self.pagesets.iter().count() as u64;
        // In units of 128 MiB.
        (2 * bits(cpus) * (1 + bits(zone.managed_pages() >> 15))).min(125)
    }
}
