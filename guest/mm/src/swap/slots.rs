//! Taking slots, naming them, freeing them.

use super::area::Left;
use super::{Refused, Swap};
use crate::mutant::planted;
use crate::port::{Cpu, Machine, SwapEntry};
use core::sync::atomic::Ordering;

/// What became of a slot that one entry less names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freed {
    /// Others name it, or it is free.
    Done,
    /// Only the cache has it: its page may go from there.
    CacheOnly,
}

impl<'p, M: Machine> Swap<'p, M> {
    /// A slot for a page that the caller puts in the cache: from the cluster of this CPU in the area it used last, else
    /// from the area whose turn it is (Linux `folio_alloc_swap`).
    pub(super) fn take_slot(&self) -> Option<SwapEntry> {
        let cpu = self.cpu();
        // The CPU stays the same.
        let _masked = cpu.irq_guard();
        let id = cpu.id();
        let mut order = self.order.lock(cpu);
        let mut list = [0_u8; super::MAX_AREAS];
        let len = order.all().zip(list.iter_mut()).map(|(area, slot)| *slot = area).count();
        for &number in list.get(..len)? {
            let Some(area) = self.areas.get(usize::from(number)) else { continue };
            let mut inner = area.inner.lock(cpu);
            let Some(inner) = inner.as_mut() else { continue };
            // What the CPU has not used up goes first, whoever's turn it is.
            let mut slot = inner.state.take(id);
            if slot.is_none() && inner.state.refill(id) {
                order.used(number);
                slot = inner.state.take(id);
            }
            if let Some(slot) = slot {
                self.lru.swap_free().fetch_sub(1, Ordering::Relaxed);
                return SwapEntry::new(number.into(), slot);
            }
        }
        None
    }

    /// A slot has taken a step.
    fn left(&self, entry: SwapEntry, left: Left, is_closed: bool) -> Freed {
        match left {
            Left::Free => {
                if !is_closed {
                    self.lru.swap_free().fetch_add(1, Ordering::Relaxed);
                }
                self.forget_shadow(entry);
                if self.discards.load(Ordering::Relaxed) {
                    self.wake_discarder(entry);
                }
                Freed::Done
            }
            Left::Cached => Freed::CacheOnly,
            Left::Taken => Freed::Done,
        }
    }

    /// One entry less names a slot (Linux `swap_free`).
    ///
    /// # Errors
    /// [`Refused::Free`]: none did, which is a bug of the caller.
    pub(crate) fn free_slot(&self, entry: SwapEntry) -> Result<Freed, Refused> {
        if planted("vm::swap.slots_stay") {
            return Ok(Freed::Done);
        }
        self.less(entry).map(|(left, is_closed)| self.left(entry, left, is_closed))
    }

    /// The cache has no page for the slot any more.
    pub(super) fn uncache(&self, entry: SwapEntry) {
        let left = self.with(entry, |inner, slot| (inner.state.uncache(slot), inner.state.closed));
        if let Some((Ok(left), is_closed)) = left {
            let _ = self.left(entry, left, is_closed);
        }
    }

    /// Whether some entry names a slot.
    pub(super) fn is_named(&self, entry: SwapEntry) -> bool {
        self.with(entry, |inner, slot| inner.state.count(slot).is_named()).unwrap_or(false)
    }
}
