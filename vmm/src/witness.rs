//! Two counts of the same: what a guest says that its disks have done, beside what this process did for it.
//!
//! Owns: the comparison, to the byte. Stays outside: reading either. A disk that the guest does not use is left out.

use std::sync::Arc;

use shared::stats::{DiskGroup, DiskWords};

use crate::devices::virtio::blk::BlkCounters;

/// Where the two differ, a line each.
#[must_use]
pub fn differences(guest: &DiskGroup, disks: &[(String, Arc<BlkCounters>)]) -> Vec<String> {
    let count = usize::try_from(guest.count).unwrap_or(usize::MAX);
    let told = guest.disks.iter().take(count);
    told.flat_map(|words| {
        let found = disks.iter().find(|(id, _)| DiskWords::id_of(id.as_bytes()) == words.id);
        found.map(|(id, counters)| of_disk(id, words, counters)).unwrap_or_default()
    })
    .collect()
}

fn of_disk(id: &str, guest: &DiskWords, host: &BlkCounters) -> Vec<String> {
    let host = host.totals();
    let host = [host.reads, host.read_bytes, host.writes, host.write_bytes, host.flushes, host.errors];
    let differs = |((name, guest), host): ((&str, u64), u64)| {
        (guest != host)
            .then(|| format!("disk.{id}.{name}: the guest has counted {guest}, the monitor {host}"))
    };
    guest.counters().into_iter().zip(host).filter_map(differs).collect()
}

#[cfg(test)]
mod tests;
