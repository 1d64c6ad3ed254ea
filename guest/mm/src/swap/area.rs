//! One area: which of its slots are taken, by how many entries, and what their pages look like (Linux
//! `struct swap_info_struct`).
//!
//! Owns: the map, the clusters, the slots whose pages are zeroes, all in memory that whoever switches the area on sets
//! aside. Stays outside: which area is used when (`order`), pages (`cache`). Invariants: under the lock of the area;
//! `used` of a cluster is how many of its bytes are not 0; `free` is how many slots are.

use super::cluster::{Cluster, List, Place, SLOTS};
use super::count::{Count, Refused};
use super::extent::{Extent, place};
use crate::mutant::planted;
use crate::phys::MAX_CPUS;
use crate::port::CpuId;

/// No cluster.
const NONE: u32 = u32::MAX;

/// What a CPU gives out of.
#[derive(Clone, Copy)]
struct Current {
    cluster: u32,
    next: u32,
}

/// The memory of an area, one piece for each purpose.
pub(super) struct Maps<'p> {
    /// A byte for each slot.
    pub map: &'p mut [u8],
    pub clusters: &'p mut [Cluster],
    /// A bit for each slot: its page is all zeroes, and is not on the disk.
    pub zeroes: &'p mut [u64],
    pub extents: &'p [Extent],
}

/// An area that is on.
pub(super) struct State<'p> {
    maps: Maps<'p>,
    /// No slots are given out: the area is being switched off.
    pub closed: bool,
    /// What was in use goes back to the disk before it is used again (Linux `SWP_PAGE_DISCARD`).
    pub discards: bool,
    /// Clusters that are being given back.
    pub discarding: u32,
    free_slots: u64,
    /// Slots that can be used at all.
    good: u64,
    free: List,
    freed: List,
    part: List,
    full: List,
    current: [Current; MAX_CPUS],
}

/// What a slot became by a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Somebody names it, or the cache has it for somebody.
    Taken,
    /// Only the cache has it.
    Cached,
    /// Nobody: it is free.
    Free,
}

impl<'p> State<'p> {
    /// An area with all slots free but the header and those in `bad`.
    pub fn new(maps: Maps<'p>, bad: impl Iterator<Item = u64>) -> Self {
        let mut state = Self {
            maps,
            closed: false,
            discards: false,
            discarding: 0,
            free_slots: 0,
            good: 0,
            free: List::new(Place::Free),
            freed: List::new(Place::Freed),
            part: List::new(Place::Part),
            full: List::new(Place::Full),
            current: [Current { cluster: NONE, next: 0 }; MAX_CPUS],
        };
        for slot in core::iter::once(0).chain(bad) {
            if let Some(byte) = state.maps.map.get_mut(slot as usize) {
                *byte = Count::BAD.byte();
            }
        }
        for at in 0..state.maps.clusters.len() as u32 {
            state.take_in(at);
        }
        state
    }

    /// Puts a cluster on its list for the first time.
    fn take_in(&mut self, at: u32) {
        let first = u64::from(at) * SLOTS;
        let map = self.maps.map.get(first as usize..).unwrap_or(&[]);
        let used = map.iter().take(SLOTS as usize).filter(|byte| **byte != 0).count() as u64;
        // Behind the end of the area there is nothing.
        let beyond = SLOTS.saturating_sub(map.len() as u64);
        if let Some(cluster) = self.maps.clusters.get_mut(at as usize) {
            cluster.used = (used + beyond) as u16;
        }
        self.free_slots += SLOTS - used - beyond;
        self.good += SLOTS - used - beyond;
        self.put_down(at);
    }

    pub fn free_slots(&self) -> u64 {
        self.free_slots
    }

    /// Slots that can be used.
    pub fn good(&self) -> u64 {
        self.good
    }

    /// All slots, the header's and bad ones included.
    pub fn slots(&self) -> u64 {
        self.maps.map.len() as u64
    }

    /// Where a slot is on the disk, and how many from it on are in a row.
    pub fn place(&self, slot: u64) -> Option<(u64, u64)> {
        place(self.maps.extents, slot)
    }

    pub fn count(&self, slot: u64) -> Count {
        self.maps.map.get(slot as usize).map_or(Count::BAD, |byte| Count::of(*byte))
    }

    /// The first slot from `from` on that something is in.
    pub fn next_taken(&self, from: u64) -> Option<u64> {
        let rest = self.maps.map.get(from as usize..)?;
        let taken = |byte: &u8| !Count::of(*byte).is_free() && !Count::of(*byte).is_bad();
        rest.iter().position(taken).map(|at| from + at as u64)
    }

    fn set(&mut self, slot: u64, count: Count) {
        if let Some(byte) = self.maps.map.get_mut(slot as usize) {
            *byte = count.byte();
        }
    }

    /// Puts a cluster that nobody gives out on the list that it belongs on.
    fn put_down(&mut self, at: u32) {
        let Some(cluster) = self.maps.clusters.get(at as usize) else { return };
        let list = match u64::from(cluster.used) {
            0 if self.discards => &mut self.freed,
            0 => &mut self.free,
            SLOTS => &mut self.full,
            _ => &mut self.part,
        };
        list.push(self.maps.clusters, at);
    }

    fn list_of(&mut self, place: Place) -> Option<&mut List> {
        match place {
            Place::Free => Some(&mut self.free),
            Place::Freed => Some(&mut self.freed),
            Place::Part => Some(&mut self.part),
            Place::Full => Some(&mut self.full),
            Place::Current => None,
        }
    }

    /// A slot for the cache, from what CPU `cpu` gives out; `None` if that is at its end.
    pub fn take(&mut self, cpu: CpuId) -> Option<u64> {
        let current = *self.current.get(cpu.0 as usize)?;
        if self.closed || current.cluster == NONE {
            return None;
        }
        let first = u64::from(current.cluster) * SLOTS;
        let from = first + u64::from(current.next);
        let end = (first + SLOTS).min(self.maps.map.len() as u64);
        let rest = self.maps.map.get(from as usize..end as usize).unwrap_or(&[]);
        let Some(skip) = rest.iter().position(|byte| *byte == 0) else {
            self.let_go(cpu);
            return None;
        };
        let slot = from + skip as u64;
        self.set(slot, Count::TAKEN);
        self.free_slots -= 1;
        if let Some(cluster) = self.maps.clusters.get_mut(current.cluster as usize) {
            cluster.used += 1;
        }
        if let Some(current) = self.current.get_mut(cpu.0 as usize) {
            current.next = (slot + 1 - first) as u32;
        }
        Some(slot)
    }

    /// The CPU gives no more out of its cluster.
    fn let_go(&mut self, cpu: CpuId) {
        let Some(current) = self.current.get_mut(cpu.0 as usize) else { return };
        let cluster = core::mem::replace(&mut current.cluster, NONE);
        if cluster != NONE {
            self.put_down(cluster);
        }
    }

    /// Gives the CPU another cluster: a free one, else one with free slots, else what another CPU gives out of. Whether
    /// there was one.
    pub fn refill(&mut self, cpu: CpuId) -> bool {
        if self.closed || self.free_slots == 0 {
            return false;
        }
        self.let_go(cpu);
        let clusters = &mut *self.maps.clusters;
        let found = self.free.pop(clusters).or_else(|| self.part.pop(clusters));
        let found = found.or_else(|| self.steal());
        let (Some(cluster), Some(current)) = (found, self.current.get_mut(cpu.0 as usize)) else {
            return false;
        };
        *current = Current { cluster, next: 0 };
        true
    }

    /// Whether clusters wait to be given back to the disk.
    pub fn any_freed(&self) -> bool {
        !self.closed && self.freed.first().is_some()
    }

    /// The first slot of a cluster that the caller gives back to the disk.
    pub fn begin_discard(&mut self) -> Option<u64> {
        if self.closed {
            return None;
        }
        let at = self.freed.pop(self.maps.clusters)?;
        self.discarding += 1;
        Some(u64::from(at) * SLOTS)
    }

    /// The cluster with this first slot was given back.
    pub fn end_discard(&mut self, first: u64) {
        self.discarding -= 1;
        self.free.push(self.maps.clusters, (first / SLOTS) as u32);
    }

    /// A cluster with free slots that another CPU gives out of.
    fn steal(&mut self) -> Option<u32> {
        let clusters = &*self.maps.clusters;
        let has_room = |at: u32| clusters.get(at as usize).is_some_and(|c| u64::from(c.used) < SLOTS);
        let victim = self.current.iter_mut().find(|current| has_room(current.cluster))?;
        Some(core::mem::replace(&mut victim.cluster, NONE))
    }

    /// One entry more names a slot.
    pub fn duplicate(&mut self, slot: u64) -> Result<(), Refused> {
        let count = self.count(slot).more()?;
        self.set(slot, count);
        Ok(())
    }

    /// One entry more than its byte can count names a slot.
    pub fn carry(&mut self, slot: u64) {
        let count = self.count(slot).carry();
        self.set(slot, count);
    }

    /// One entry less names a slot, of those that its byte does not count.
    pub fn borrow(&mut self, slot: u64, is_carried: bool) {
        let count = self.count(slot).borrow(is_carried);
        self.set(slot, count);
    }

    /// One entry less names a slot.
    pub fn free(&mut self, slot: u64) -> Result<Left, Refused> {
        let count = self.count(slot).less()?;
        Ok(self.step(slot, count))
    }

    /// The cache is about to get a page for a slot.
    pub fn cache(&mut self, slot: u64) -> Result<(), Refused> {
        let count = self.count(slot).cached()?;
        self.set(slot, count);
        Ok(())
    }

    /// The cache has no page for a slot any more.
    pub fn uncache(&mut self, slot: u64) -> Result<Left, Refused> {
        let count = self.count(slot).uncached()?;
        Ok(self.step(slot, count))
    }

    fn step(&mut self, slot: u64, count: Count) -> Left {
        self.set(slot, count);
        if !count.is_free() {
            return if count.is_named() { Left::Taken } else { Left::Cached };
        }
        self.free_slots += 1;
        self.set_zero(slot, false);
        let at = (slot / SLOTS) as u32;
        let Some(cluster) = self.maps.clusters.get_mut(at as usize) else { return Left::Free };
        cluster.used -= 1;
        let (place, is_empty) = (cluster.place, cluster.used == 0);
        if place == Place::Full || (is_empty && place == Place::Part) {
            let mut clusters = core::mem::take(&mut self.maps.clusters);
            if let Some(list) = self.list_of(place) {
                list.remove(clusters, at);
            }
            core::mem::swap(&mut self.maps.clusters, &mut clusters);
            self.put_down(at);
        }
        Left::Free
    }

    /// Whether the page of a slot is all zeroes.
    pub fn is_zero(&self, slot: u64) -> bool {
        self.maps.zeroes.get((slot / 64) as usize).is_some_and(|word| word >> (slot % 64) & 1 != 0)
    }

    pub fn set_zero(&mut self, slot: u64, is_zero: bool) {
        let Some(word) = self.maps.zeroes.get_mut((slot / 64) as usize) else { return };
        let bit = 1 << (slot % 64);
        if is_zero && !planted("vm::swap.zero_is_forgotten") {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }

    /// Checks the clusters and counts against the map; how many slots are taken.
    pub fn verify(&self) -> Result<u64, &'static str> {
        let mut taken = 0;
        for (at, cluster) in self.maps.clusters.iter().enumerate() {
            let first = at * SLOTS as usize;
            let map = self.maps.map.get(first..).unwrap_or(&[]);
            let here = map.iter().take(SLOTS as usize);
            let used = here.clone().filter(|byte| **byte != 0).count() as u64;
            let beyond = SLOTS.saturating_sub(map.len() as u64);
            if u64::from(cluster.used) != used + beyond {
                return Err("the slots of a cluster are counted wrong");
            }
            let right = match cluster.place {
                Place::Current => true,
                Place::Free | Place::Freed => used + beyond == 0,
                Place::Part => used + beyond != 0 && used + beyond != SLOTS,
                Place::Full => used + beyond == SLOTS,
            };
            if !right {
                return Err("a cluster is on another list than its slots say");
            }
            taken += here.filter(|byte| **byte != 0 && !Count::of(**byte).is_bad()).count() as u64;
        }
        if taken + self.free_slots == self.good { Ok(taken) } else { Err("free slots are counted wrong") }
    }
}
