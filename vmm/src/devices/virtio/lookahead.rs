//! What the next chains of a queue will need, brought in ahead of them.
//!
//! Owns: the order of the fetches. Stays outside: taking chains (`queue`).
//! Invariants: nothing that is read here decides anything: the driver may have changed it before it counts.
//!
//! The driver has just written descriptors and headers on another CPU, so the first look at each waits for that CPU's
//! cache. Chain by chain those waits add up; asked for together, they pass together.

use std::num::Wrapping;
use std::sync::atomic::Ordering;

use virtio_queue::{Queue, QueueT};
use vm_memory::{Address, Bytes, GuestAddress};

use crate::memory::GuestRam;

/// Chains that are looked at.
const CHAINS: usize = 16;
/// Bytes before the entries of the available ring.
const HEADER: u64 = 4;
/// Bytes of an entry of the available ring.
const ENTRY: u64 = 2;
/// Bytes of a descriptor, which begins with an address.
const DESCRIPTOR: u64 = 16;

/// Fetches the first descriptor of each chain that waits, and then what it points at: the header, or the table of an
/// indirect chain.
pub(super) fn fetch(ring: &Queue, memory: &GuestRam) {
    let Ok(index) = ring.avail_idx(memory, Ordering::Acquire) else { return };
    let next = Wrapping(ring.next_avail());
    let waiting = usize::from((index - next).0.min(ring.size())).min(CHAINS);
    if waiting < 2 {
        return;
    }
    let mut heads = [GuestAddress(0); CHAINS];
    let heads = heads.get_mut(..waiting).unwrap_or_default();
    for (place, head) in (next.0..=u16::MAX).chain(0..).zip(heads.iter_mut()) {
        let entry = u64::from(place % ring.size());
        let entry = GuestAddress(ring.avail_ring()).checked_add(HEADER + ENTRY * entry);
        let Some(Ok(number)) = entry.map(|at| memory.load::<u16>(at, Ordering::Relaxed)) else { continue };
        let descriptor = DESCRIPTOR * u64::from(u16::from_le(number) % ring.size());
        *head = GuestAddress(ring.desc_table().wrapping_add(descriptor));
        memory.prefetch(*head);
    }
    for head in heads {
        if let Ok(address) = memory.load::<u64>(*head, Ordering::Relaxed) {
            memory.prefetch(GuestAddress(u64::from_le(address)));
        }
    }
}
