//! `/proc/vmstat`. Source: Linux `mm/vmstat.c` (`vmstat_show`).

use super::names::{GLOBAL_STATS, NODE_STATS, NUMA_EVENTS, VM_EVENTS, ZONE_STATS};
use core::fmt;

/// A counter that Linux keeps in the text for old readers; always 0.
const NR_UNSTABLE: &str = "nr_unstable";

/// The numbers of `/proc/vmstat`, each list in the order of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmstat {
    /// [`ZONE_STATS`], summed over all zones.
    pub zone: [u64; ZONE_STATS.len()],
    /// [`NUMA_EVENTS`], summed over all zones.
    pub numa: [u64; NUMA_EVENTS.len()],
    /// [`NODE_STATS`], summed over all nodes.
    pub node: [u64; NODE_STATS.len()],
    /// [`GLOBAL_STATS`].
    pub global: [u64; GLOBAL_STATS.len()],
    /// [`VM_EVENTS`], summed over all CPUs.
    pub events: [u64; VM_EVENTS.len()],
}

impl Vmstat {
    /// All zero.
    pub const ZERO: Self = Self {
        zone: [0; ZONE_STATS.len()],
        numa: [0; NUMA_EVENTS.len()],
        node: [0; NODE_STATS.len()],
        global: [0; GLOBAL_STATS.len()],
        events: [0; VM_EVENTS.len()],
    };

    /// Every counter with its name, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let zone = ZONE_STATS.into_iter().zip(self.zone);
        let numa = NUMA_EVENTS.into_iter().zip(self.numa);
        let node = NODE_STATS.into_iter().zip(self.node);
        let global = GLOBAL_STATS.into_iter().zip(self.global);
        let events = VM_EVENTS.into_iter().zip(self.events);
        zone.chain(numa).chain(node).chain(global).chain(events).chain([(NR_UNSTABLE, 0)])
    }

    /// Writes the whole text.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, w: &mut dyn fmt::Write) -> fmt::Result {
        self.iter().try_for_each(|(name, value)| writeln!(w, "{name} {value}"))
    }
}
