//! Switching areas on and off (Linux `swapon`, `swapoff`).

use super::area::State;
use super::extent::is_complete;
use super::memory::divide;
use super::{Area, AreaMemory, Extent, Ground, Inner, MAX_SLOTS, Swap};
use crate::errno::Errno;
use crate::port::{BlockDevice, Machine, SwapEntry};
use crate::sync::rcu;
use crate::xarray::{NodeCache, XArray};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

/// An area that is to be used.
pub struct SwapOn<'a, 'p> {
    /// The disk it is on.
    pub device: &'p dyn BlockDevice,
    /// Where its slots are, the header's among them, in order.
    pub extents: &'a [Extent],
    /// How many there are.
    pub slots: u64,
    /// Slots that must not be used.
    pub bad: &'a [u64],
    /// What was in use goes back to the disk before it is used again; if the disk takes that.
    pub discard: bool,
    /// Which areas come first: the highest. Without one it comes after all that are on.
    pub priority: Option<u16>,
    /// As many bytes as [`area_bytes`](super::area_bytes) says.
    pub memory: AreaMemory,
}

/// What is known of an area that is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AreaInfo {
    /// Its number.
    pub area: u32,
    /// Slots that can be used.
    pub slots: u64,
    /// Those that are taken.
    pub used: u64,
    /// Its priority.
    pub priority: i32,
}

impl<'p, M: Machine> Swap<'p, M> {
    /// How many words [`Swap::boot`] needs.
    pub fn entry_words(&self) -> u64 {
        self.phys.frame_table().map_or(0, |table| u64::from(table.end()))
    }

    /// Whether there was a [`Swap::boot`].
    pub fn is_booted(&self) -> bool {
        self.ground().is_some()
    }

    /// Before the first area is used: `entries` are as many words as [`Swap::entry_words`] says, all 0. Later calls do
    /// nothing; whether this was the first.
    pub fn boot(&self, nodes: &'p NodeCache<'p, 'p, M>, entries: &'p [AtomicU32]) -> bool {
        let Some(table) = self.phys.frame_table() else { return false };
        let filled = self.ground.init::<()>(|slot| {
            *slot = Some(Ground { table, nodes, entries });
            Ok(())
        });
        filled.is_ok()
    }

    /// Uses an area from now on; its number.
    ///
    /// # Errors
    /// `Einval` for extents that do not fit, no slot to use, or more than there can be; `Erofs`; `Eperm` where as many areas are on as can
    /// be, as in Linux; `Enomem` before [`Swap::boot`]. The memory is the caller's then.
    ///
    /// # Safety
    /// The memory is as large as [`area_bytes`](super::area_bytes) says and nobody else's until [`Swap::off`] gives it
    /// back; nobody else writes to these sectors of the disk.
    pub unsafe fn on(&self, request: &SwapOn<'_, 'p>) -> Result<u32, Errno> {
        let SwapOn { device, extents, slots, .. } = *request;
        if self.ground().is_none() {
            return Err(Errno::Enomem);
        }
        if device.is_read_only() {
            return Err(Errno::Erofs);
        }
        if slots > MAX_SLOTS || !is_complete(extents, slots, device.sectors()) {
            return Err(Errno::Einval);
        }
        let cpu = self.cpu();
        let mut order = self.order.lock(cpu);
        let free = |area: &&Area<'p>| area.inner.lock(cpu).is_none();
        let number = self.areas.iter().position(|area| free(&area)).ok_or(Errno::Eperm)?;
        let area = self.areas.get(number).ok_or(Errno::Eperm)?;
        // SAFETY: promised by the caller.
        let (maps, spaces) = unsafe { divide(request.memory, slots, extents) };
        // SAFETY: they stay where they are until `finish_off` has emptied them, with the supply that `boot` was given.
        spaces.iter().for_each(|space| unsafe { space.watch() });
        let mut state = State::new(maps, request.bad.iter().copied());
        state.discards = request.discard && device.max_discard() != 0;
        self.discards.fetch_or(state.discards, Ordering::Relaxed);
        let good = state.good();
        if good == 0 {
            return Err(Errno::Einval);
        }
        let priority = request.priority.map_or_else(|| order.automatic(), i32::from);
        let rotational = device.is_rotational();
        *area.inner.lock(cpu) = Some(Inner { state, device, priority, rotational, memory: request.memory });
        self.ahead.rotating.fetch_add(rotational.into(), Ordering::Relaxed);
        area.count.store(spaces.len() as u32, Ordering::Relaxed);
        area.spaces.store(core::ptr::from_ref::<[XArray]>(spaces).cast_mut().cast(), Ordering::Release);
        self.total.fetch_add(good, Ordering::Relaxed);
        self.lru.swap_free().fetch_add(good, Ordering::Relaxed);
        order.add(number as u8, priority);
        self.look_again();
        Ok(number as u32)
    }

    /// Gives no more slots of an area out, before what is in it is brought back.
    ///
    /// # Errors
    /// `Einval`: it is not on, or somebody is switching it off.
    pub(crate) fn close(&self, number: u32) -> Result<(), Errno> {
        let mut order = self.order.lock(self.cpu());
        let area = self.areas.get(number as usize).ok_or(Errno::Einval)?;
        let mut inner = area.inner.lock(self.cpu());
        let inner = inner.as_mut().filter(|inner| !inner.state.closed).ok_or(Errno::Einval)?;
        inner.state.closed = true;
        order.remove(number as u8);
        // What it has does not count as room any more.
        self.total.fetch_sub(inner.state.good(), Ordering::Relaxed);
        self.lru.swap_free().fetch_sub(inner.state.free_slots(), Ordering::Relaxed);
        Ok(())
    }

    /// Uses an area again that [`Swap::close`] closed.
    pub(crate) fn reopen(&self, number: u32) {
        let mut order = self.order.lock(self.cpu());
        let Some(area) = self.areas.get(number as usize) else { return };
        let mut inner = area.inner.lock(self.cpu());
        if let Some(inner) = inner.as_mut() {
            inner.state.closed = false;
            order.add(number as u8, inner.priority);
            self.look_again();
            self.total.fetch_add(inner.state.good(), Ordering::Relaxed);
            self.lru.swap_free().fetch_add(inner.state.free_slots(), Ordering::Relaxed);
        }
    }

    /// The first slot from `from` on of an area that something is in.
    pub(crate) fn next_taken(&self, number: u32, from: u64) -> Option<SwapEntry> {
        let area = self.areas.get(number as usize)?;
        let slot = area.inner.lock(self.cpu()).as_ref()?.state.next_taken(from)?;
        SwapEntry::new(number, slot)
    }

    /// Forgets a closed area in which nothing is; its memory. Only where this code can wait.
    pub(crate) fn finish_off(&self, number: u32) -> Option<AreaMemory> {
        let area = self.areas.get(number as usize)?;
        let spaces = area.spaces.swap(null_mut(), Ordering::AcqRel);
        self.wait_for_discards(area);
        let inner = area.inner.lock(self.cpu()).take()?;
        self.ahead.rotating.fetch_sub(inner.rotational.into(), Ordering::Relaxed);
        // Whoever is in a read section may still look at the indexes.
        let ground = self.ground()?;
        while !rcu::synchronize(self.cpu(), ground.nodes.cpus()) {}
        for at in 0..area.count.load(Ordering::Relaxed) as usize {
            // SAFETY: there are so many, their memory was not given back, and nobody else knows them any more.
            unsafe { &*spaces.add(at) }.destroy(ground.nodes);
        }
        Some(inner.memory)
    }

    /// All areas that are on, by number.
    pub fn areas(&self) -> impl Iterator<Item = AreaInfo> {
        self.areas.iter().zip(0..).filter_map(|(area, number)| {
            let inner = area.inner.lock(self.cpu());
            let inner = inner.as_ref()?;
            let (slots, free) = (inner.state.good(), inner.state.free_slots());
            Some(AreaInfo { area: number, slots, used: slots - free, priority: inner.priority })
        })
    }

    /// Checks all areas against their counts and the cache, and against `named`, which says how many entries name a slot;
    /// how many slots are taken.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub fn verify(&self, mut named: impl FnMut(SwapEntry) -> u32) -> Result<u64, &'static str> {
        let mut taken = 0;
        for (area, number) in self.areas.iter().zip(0..) {
            let Some(here) = area.inner.lock(self.cpu()).as_ref().map(|inner| inner.state.verify()) else {
                continue;
            };
            taken += here?;
            let mut from = 0;
            while let Some(entry) = self.next_taken(number, from) {
                from = entry.offset() + 1;
                let count = self.with(entry, |inner, slot| inner.state.count(slot));
                let (Some(count), wanted) = (count, named(entry)) else { continue };
                if self.count_entries(entry)? != wanted {
                    return Err("a slot is named by more or fewer entries than its count says");
                }
                self.verify_cache(entry, count.is_cached())?;
            }
        }
        if taken == self.total_slots() - self.free_slots() { Ok(taken) } else { Err("SwapFree is wrong") }
    }
}
