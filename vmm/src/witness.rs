//! Three counts of the same: what a guest says that its disks have done, what its memory manager says that it asked them
//! for, and what this process did for it; and its page faults, where KVM sees them.
//!
//! Owns: the comparison, to the byte. Stays outside: reading any of them. A disk that the guest does not use is left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared::stats::{DiskGroup, DiskWords, LEDGER};

use crate::devices::virtio::blk::BlkCounters;

/// What a guest says of itself.
pub struct Told {
    /// What its disks have done.
    pub disks: DiskGroup,
    /// Pages that it has counted as coming from swap and going there, over all disks.
    pub swapped: [u64; 2],
    /// Page faults that it has taken.
    pub page_faults: u64,
    /// How often it has told that memory is short.
    pub pressure_events: u64,
}

/// A disk as both sides know it.
type Known<'a> = (&'a str, &'a DiskWords, &'a BlkCounters);

fn known<'a>(
    guest: &'a DiskGroup,
    disks: &'a [(String, Arc<BlkCounters>)],
) -> impl Iterator<Item = Known<'a>> {
    guest.told().iter().filter_map(move |words| {
        let (id, host) = disks.iter().find(|(id, _)| DiskWords::id_of(id.as_bytes()) == words.id)?;
        Some((id.as_str(), words, host.as_ref()))
    })
}

/// Where they differ, a line each; `counters` are those of KVM.
#[must_use]
pub fn differences(
    guest: &Told,
    disks: &[(String, Arc<BlkCounters>)],
    counters: &BTreeMap<String, u64>,
) -> Vec<String> {
    let of_disks = known(&guest.disks, disks).flat_map(of_disk);
    let of_swap = of_swap(&guest.disks, guest.swapped);
    of_disks.chain(of_swap).chain(of_faults(guest.page_faults, counters)).collect()
}

/// KVM hands on all page faults of a guest whose tables it translates itself, which shows in that it follows their changes. With
/// tables of the processor's own (EPT, NPT) it sees none, or few.
fn of_faults(guest: u64, counters: &BTreeMap<String, u64>) -> Option<String> {
    let of = |name| counters.get(name).copied().unwrap_or(0);
    let (seen, is_followed) = (of("kvm.vcpu.pf_guest"), of("kvm.vm.mmu_pte_write") != 0);
    let line = || format!("page_faults: the guest has counted {guest}, KVM {seen}");
    (is_followed && guest != seen).then(line)
}

fn of_disk((id, guest, host): Known<'_>) -> impl Iterator<Item = String> {
    let host = host.totals();
    let counts = [
        host.reads,
        host.read_bytes,
        host.writes,
        host.write_bytes,
        host.flushes,
        host.discards,
        host.discard_bytes,
        host.errors,
    ];
    let counted = guest.counters().into_iter().zip(counts).filter_map(move |((name, guest), host)| {
        let line = || format!("disk.{id}.{name}: the guest has counted {guest}, the monitor {host}");
        (guest != host).then(line)
    });
    let moved = [("read", host.read_bytes), ("write", host.write_bytes), ("discard", host.discard_bytes)];
    let booked = guest.booked_bytes().into_iter().zip(moved);
    counted.chain(booked.filter_map(move |(booked, (name, host))| {
        let line =
            || format!("disk.{id}.{name}_bytes: the guest has booked {booked}, the monitor has {host}");
        (booked != host).then(line)
    }))
}

fn of_swap(guest: &DiskGroup, swapped: [u64; 2]) -> impl Iterator<Item = String> {
    ["pswpin", "pswpout"].into_iter().zip(swapped).enumerate().filter_map(|(at, (name, counted))| {
        let booked = guest.told().iter().map(|disk| disk.booked_swap()[at]).fold(0, u64::wrapping_add);
        let line =
            || format!("{name}: the guest has counted {counted} pages, and booked {booked} on its disks");
        (booked != counted).then(line)
    })
}

/// What the guest has booked of each disk and counted of its own, by name.
pub fn told<'a>(
    guest: &'a Told,
    disks: &'a [(String, Arc<BlkCounters>)],
) -> impl Iterator<Item = (String, u64)> + 'a {
    let booked = known(&guest.disks, disks).flat_map(|(id, words, _)| {
        let lines = LEDGER.into_iter().zip(words.ledger);
        lines.map(move |(name, value)| (format!("guest.disk.{id}.{name}"), value))
    });
    let counted = [("page_faults", guest.page_faults), ("pressure_events", guest.pressure_events)];
    booked.chain(counted.map(|(name, value)| (format!("guest.{name}"), value)))
}

#[cfg(test)]
mod tests;
