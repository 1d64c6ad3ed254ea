//! Taking slots, naming them, freeing them.
//!
//! Each CPU gives out of a cluster of its own, as in Linux since 6.14, which has no caches of slots beside it: what is
//! free is free for all, and what one CPU swaps out lies together.

use super::area::{Left, State};
use super::{Inner, NO_AREA, Refused, Swap};
use crate::mutant::planted;
use crate::port::{Cpu, CpuId, Machine, SwapEntry};
use core::sync::atomic::{AtomicU8, Ordering};

/// What became of a slot that one entry less names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freed {
    /// Others name it, or it is free.
    Done,
    /// Only the cache has it: its page may go from there.
    CacheOnly,
}

impl<'p, M: Machine> Swap<'p, M> {
    /// A slot for a page that the caller puts in the cache: from the cluster that this CPU gives out of, which needs nothing but
    /// the lock of its area; else from the area whose turn it is (Linux `folio_alloc_swap`).
    pub(super) fn take_slot(&self) -> Option<SwapEntry> {
        let cpu = self.cpu();
        // The CPU stays the same.
        let _masked = cpu.irq_guard();
        let id = cpu.id();
        let last = self.last.get(id.0 as usize)?;
        self.take_from(last.load(Ordering::Relaxed), |state| state.take(id))
            .or_else(|| self.take_in_turn(id, last))
    }

    /// Whoever has priority, and of those whoever was not used last. What the CPU has not used up there goes first.
    #[cold]
    fn take_in_turn(&self, id: CpuId, last: &AtomicU8) -> Option<SwapEntry> {
        let mut order = self.order.lock(self.cpu());
        let mut list = [0_u8; super::MAX_AREAS];
        let len = order.all().zip(list.iter_mut()).map(|(area, slot)| *slot = area).count();
        list.get(..len)?.iter().find_map(|&number| {
            let slot = self.take_from(number, |state| {
                state.take(id).or_else(|| {
                    let has_more = state.refill(id);
                    if has_more {
                        order.used(number);
                    }
                    has_more.then(|| state.take(id))?
                })
            });
            last.store(if slot.is_some() { number } else { NO_AREA }, Ordering::Relaxed);
            slot
        })
    }

    /// What `take` takes from an area, if that is on.
    fn take_from(&self, number: u8, take: impl FnOnce(&mut State<'p>) -> Option<u64>) -> Option<SwapEntry> {
        let mut inner = self.areas.get(usize::from(number))?.inner.lock(self.cpu());
        let slot = take(&mut inner.as_mut()?.state)?;
        self.lru.swap_free().fetch_sub(1, Ordering::Relaxed);
        SwapEntry::new(number.into(), slot)
    }

    /// An area is on that may come before those that CPUs give out of: they look again.
    pub(super) fn look_again(&self) {
        self.last.iter().for_each(|last| last.store(NO_AREA, Ordering::Relaxed));
    }

    /// A slot is free, if it is, and its area is not closed: it counts as room. With the lock of the area held, so that
    /// nobody closes it in between and takes away what was not counted yet.
    pub(super) fn count_free(&self, state: &State<'p>, left: Left) -> Left {
        if left == Left::Free && !state.closed {
            self.lru.swap_free().fetch_add(1, Ordering::Relaxed);
        }
        left
    }

    /// A slot has taken a step.
    fn left(&self, entry: SwapEntry, left: Left) -> Freed {
        match left {
            Left::Free => {
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
        self.less(entry).map(|left| self.left(entry, left))
    }

    /// The cache has no page for the slot any more.
    pub(super) fn uncache(&self, entry: SwapEntry) {
        let uncache = |inner: &mut Inner<'p>, slot| {
            let left = inner.state.uncache(slot)?;
            Ok::<_, Refused>(self.count_free(&inner.state, left))
        };
        if let Some(Ok(left)) = self.with(entry, uncache) {
            let _ = self.left(entry, left);
        }
    }

    /// Whether some entry names a slot.
    pub(super) fn is_named(&self, entry: SwapEntry) -> bool {
        self.with(entry, |inner, slot| inner.state.count(slot).is_named()).unwrap_or(false)
    }
}
