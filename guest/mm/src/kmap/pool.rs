//! The window that all CPUs share: each page counted, the pages of unused mappings flushed all at once.
//!
//! A mapping that nobody uses any more stays until the search for a free page has gone round; then one flush makes all
//! such pages free. A frame is mapped once, however many use it. Source: Linux `pkmap_count`, `last_pkmap_nr`.

use super::{Kmap, KmapError, LOCAL_SLOTS, MAX_CPUS, Windows};
use crate::addr::{Pfn, VirtAddr};
use crate::port::{Machine, Tlb};

/// Pages of the pool (Linux `LAST_PKMAP`).
pub const POOL_SLOTS: usize = 512;
/// The first of them among the pages of the windows.
const FIRST: usize = LOCAL_SLOTS * MAX_CPUS;
/// Chains of the hash.
const CHAINS: usize = 128;
/// The end of a chain.
const END: u16 = u16::MAX;

/// One page.
#[derive(Clone, Copy)]
struct Slot {
    pfn: Pfn,
    /// The next one of its chain.
    next: u16,
    /// 0: free; 1: mapped, but nobody uses it; above: one more than its users.
    count: u32,
}

/// All pages.
pub(super) struct Slots {
    slots: [Slot; POOL_SLOTS],
    chains: [u16; CHAINS],
    /// Where the last search ended.
    last: usize,
}

fn chain_of(pfn: Pfn) -> usize {
    (pfn.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as usize % CHAINS
}

impl Slots {
    pub const fn new() -> Self {
        let free = Slot { pfn: Pfn::from_u32(0), next: END, count: 0 };
        Self { slots: [free; POOL_SLOTS], chains: [END; CHAINS], last: POOL_SLOTS - 1 }
    }

    fn find(&self, pfn: Pfn) -> Option<usize> {
        let mut at = *self.chains.get(chain_of(pfn))?;
        while let Some(slot) = self.slots.get(usize::from(at)) {
            if slot.pfn == pfn {
                return Some(usize::from(at));
            }
            at = slot.next;
        }
        None
    }

    fn link(&mut self, at: usize, pfn: Pfn) {
        let (Some(chain), Some(slot)) = (self.chains.get_mut(chain_of(pfn)), self.slots.get_mut(at)) else {
            return;
        };
        *slot = Slot { pfn, next: *chain, count: 2 };
        *chain = at as u16;
    }

    fn unlink(&mut self, gone: usize) {
        let Some(&Slot { pfn, next, .. }) = self.slots.get(gone) else { return };
        let Some(chain) = self.chains.get_mut(chain_of(pfn)) else { return };
        if usize::from(*chain) == gone {
            *chain = next;
            return;
        }
        let mut at = *chain;
        while let Some(slot) = self.slots.get_mut(usize::from(at)) {
            if usize::from(slot.next) == gone {
                slot.next = next;
                return;
            }
            at = slot.next;
        }
    }

    /// A free page; `None` if there is none or if unused mappings must be flushed first because the search goes
    /// round, which `round` says it has done already.
    fn take(&mut self, round: bool) -> Option<usize> {
        let start = if round { 0 } else { self.last + 1 };
        let found = (start..POOL_SLOTS).find(|at| self.slots.get(*at).is_some_and(|slot| slot.count == 0))?;
        self.last = found;
        Some(found)
    }
}

impl<'m, M: Machine> Kmap<'m, M> {
    /// Maps `pfn` for everybody until as many calls of [`Kmap::unmap`]; the same frame has one address.
    ///
    /// # Errors
    /// [`KmapError::PoolFull`], [`KmapError::NotReady`].
    pub fn map(&self, pfn: Pfn) -> Result<VirtAddr, KmapError> {
        let windows = self.windows()?;
        let mut slots = self.pool.lock(self.machine.cpu());
        if let Some(at) = slots.find(pfn) {
            if let Some(slot) = slots.slots.get_mut(at) {
                slot.count += 1;
            }
            return Ok(windows.address(FIRST + at));
        }
        let at = match slots.take(false) {
            Some(at) => at,
            None => {
                self.flush_unused(windows, &mut slots)?;
                slots.take(true).ok_or(KmapError::PoolFull)?
            }
        };
        windows.slot(FIRST + at)?.set(windows.pte(pfn));
        slots.link(at, pfn);
        Ok(windows.address(FIRST + at))
    }

    /// Gives back one [`Kmap::map`]; true if nobody uses the page any more, so that one who waits for a page may try
    /// again. The frame can be seen there until the next flush of the pool: [`Kmap::flush`].
    ///
    /// # Errors
    /// [`KmapError::NotMapped`].
    pub fn unmap(&self, at: VirtAddr) -> Result<bool, KmapError> {
        let windows = self.windows()?;
        let page = windows.page_at(at).and_then(|page| page.checked_sub(FIRST));
        let mut slots = self.pool.lock(self.machine.cpu());
        let slot = page.and_then(|page| slots.slots.get_mut(page)).filter(|slot| slot.count > 1);
        let slot = slot.ok_or(KmapError::NotMapped(at))?;
        slot.count -= 1;
        Ok(slot.count == 1)
    }

    /// Takes away every mapping of the pool that nobody uses, and flushes (Linux `kmap_flush_unused`).
    pub fn flush(&self) {
        if let Ok(windows) = self.windows() {
            let _ = self.flush_unused(windows, &mut self.pool.lock(self.machine.cpu()));
        }
    }

    fn flush_unused(&self, windows: &Windows<'m, M>, slots: &mut Slots) -> Result<(), KmapError> {
        let mut flushed: Option<(usize, usize)> = None;
        for at in 0..POOL_SLOTS {
            if slots.slots.get(at).is_none_or(|slot| slot.count != 1) {
                continue;
            }
            let _ = windows.slot(FIRST + at)?.take();
            slots.unlink(at);
            if let Some(slot) = slots.slots.get_mut(at) {
                slot.count = 0;
            }
            flushed = Some((flushed.map_or(at, |(first, _)| first), at));
        }
        if let Some((first, last)) = flushed {
            self.machine.tlb().flush_range(windows.address(FIRST + first), (last - first + 1) as u64);
        }
        Ok(())
    }

    /// How many pages of the pool are in use.
    pub fn pool_in_use(&self) -> usize {
        self.pool.lock(self.machine.cpu()).slots.iter().filter(|slot| slot.count > 1).count()
    }
}
