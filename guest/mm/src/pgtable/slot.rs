//! Table frames and the entries in them, as atomic words. Every memory ordering of page tables is chosen
//! here.
//!
//! Owns: [`Table`] and [`PteSlot`]. Stays outside: what the words mean (the codec), who may change which.
//!
//! Software changes an entry only as the owner of its range (see [`crate::pgtable`]), but the MMU of any CPU
//! may set A and D in a present entry at any time. Therefore:
//!
//! | operation | ordering | because |
//! |---|---|---|
//! | `load` | Acquire | what an entry leads to must be seen as it was before it was linked |
//! | `set` | Release | publishes what it leads to; only over an entry that is not present |
//! | `take` | AcqRel | gives the last word on A and D, then the entry is gone |
//! | `compare_exchange`, `update` | AcqRel, Acquire on failure | as `set`, and loses no A or D |
//!
//! The MMU's own loads and updates are ordered like a CPU's (Intel SDM vol. 3 ch. 4.8 and 9.2). No ordering
//! reaches into a TLB: only a flush does. On x86-64 Acquire and Release cost nothing.

use super::PageRange;
use crate::addr::PhysAddr;
use crate::port::{Level, PhysMem, Pte};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

/// One entry in a live table.
#[derive(Clone, Copy)]
pub struct PteSlot<'m>(&'m AtomicU64);

impl PteSlot<'_> {
    /// The entry as it is now.
    #[inline]
    #[must_use]
    pub fn load(self) -> Pte {
        Pte::from_raw(self.0.load(Ordering::Acquire))
    }

    /// Where the entry is in the direct map.
    #[inline]
    #[must_use]
    pub fn place(self) -> NonNull<u8> {
        NonNull::from(self.0).cast()
    }

    /// Makes the entry `pte`. For an entry that is not present: a present one may just be getting its A or D.
    #[inline]
    pub fn set(self, pte: Pte) {
        self.0.store(pte.raw(), Ordering::Release);
    }

    /// Empties the entry and gives what it was, with every A and D the MMU has set (Linux
    /// `ptep_get_and_clear`).
    #[inline]
    #[must_use = "a present entry that is dropped loses its frame and its dirty bit"]
    pub fn take(self) -> Pte {
        Pte::from_raw(self.0.swap(0, Ordering::AcqRel))
    }

    /// Makes the entry `new` if it still is `old`.
    ///
    /// # Errors
    /// What the entry is instead.
    #[inline]
    pub fn compare_exchange(self, old: Pte, new: Pte) -> Result<(), Pte> {
        self.0
            .compare_exchange(old.raw(), new.raw(), Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(Pte::from_raw)
    }

    /// Makes the entry `change` of itself and gives old and new. `change` may run again if the MMU
    /// interferes.
    #[inline]
    pub fn update(self, change: impl FnMut(Pte) -> Pte) -> (Pte, Pte) {
        self.update_from(self.load(), change)
    }

    /// As [`PteSlot::update`], by who has just loaded `old` from there.
    #[inline]
    pub fn update_from(self, mut old: Pte, mut change: impl FnMut(Pte) -> Pte) -> (Pte, Pte) {
        loop {
            let new = change(old);
            if new == old {
                return (old, new);
            }
            match self.compare_exchange(old, new) {
                Ok(()) => return (old, new),
                Err(now) => old = now,
            }
        }
    }
}

/// A table: 512 entries in one frame.
#[derive(Clone, Copy)]
pub(super) struct Table<'m>(&'m [AtomicU64; Level::ENTRIES]);

impl<'m> Table<'m> {
    /// The table in the frame at `addr`; `None` if that is not RAM.
    ///
    /// # Safety
    /// If it is RAM, the frame is a table, and stays one while the result is in use: software reads and
    /// writes it by atomic operations only.
    #[inline]
    pub unsafe fn at(physmem: &'m impl PhysMem, addr: PhysAddr) -> Option<Self> {
        let ptr = physmem.ptr(addr)?;
        // SAFETY: the frame is page-aligned and as large as the array, RAM outlives the borrow of its port,
        // and the caller vouches for its use.
        Some(Self(unsafe { ptr.cast().as_ref() }))
    }

    /// Entry `index`; only its low 9 bits count.
    #[inline]
    pub fn slot(self, index: usize) -> PteSlot<'m> {
        // SAFETY: the masked index is below the length.
        PteSlot(unsafe { self.0.get_unchecked(index & (Level::ENTRIES - 1)) })
    }

    /// Every entry with its index.
    pub fn slots(self) -> impl Iterator<Item = PteSlot<'m>> {
        self.0.iter().map(PteSlot)
    }

    /// The entries of `range`, seen as a table of the last level that maps all of it.
    #[inline]
    pub fn slots_of(self, range: PageRange) -> impl Iterator<Item = PteSlot<'m>> {
        let first = range.index(Level::PTE);
        let slots = self.0.get(first..first + range.pages() as usize).unwrap_or_default();
        slots.iter().map(PteSlot)
    }

    /// The entries that cover `range`, seen as a table of `level`, each with its part of the range.
    #[inline]
    pub fn spans(self, level: Level, range: PageRange) -> impl Iterator<Item = (PteSlot<'m>, PageRange)> {
        range.spans(level).map(move |part| (self.slot(part.index(level)), part))
    }

    /// Whether no entry says anything.
    pub fn is_empty(self) -> bool {
        self.0.iter().all(|word| word.load(Ordering::Acquire) == 0)
    }
}
