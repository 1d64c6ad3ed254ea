//! A source of page-table frames for tests, which checks what it gets back and makes the rest unusable.
//!
//! Owns: a list of frames of one machine. Invariants: a frame that is not handed out is filled with entries
//! that are present and lead nowhere, so that an MMU which still walks it raises
//! [`Fault::NotRam`](crate::Fault::NotRam).

use crate::{Machine, Ram};
use mm::addr::Pfn;
use mm::pgtable::TableFrames;
use mm::port::Machine as _;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every byte of a frame that is not in use: as an entry, present with all rights, far beyond any RAM.
const POISON: u8 = 0x67;

/// A pool of frames for page tables.
pub struct TablePool<'m> {
    ram: &'m Ram,
    state: Mutex<State>,
}

struct State {
    free: Vec<Pfn>,
    used: BTreeSet<Pfn>,
    /// How many more allocations succeed.
    credit: u64,
}

impl<'m> TablePool<'m> {
    /// A pool of the frames with the numbers `frames`, which must be RAM that nobody else uses.
    ///
    /// # Panics
    /// If one is not RAM.
    #[must_use]
    pub fn new(machine: &'m Machine, frames: Range<u64>) -> Self {
        let ram = machine.physmem();
        // Highest first, as they are taken from the end.
        let free: Vec<_> = frames.rev().map(|n| Pfn::new(n).expect("frame numbers end at 2^40")).collect();
        for &pfn in &free {
            // SAFETY: the pool owns the frame.
            unsafe { ram.poison(pfn, POISON) }
        }
        Self { ram, state: Mutex::new(State { free, used: BTreeSet::new(), credit: u64::MAX }) }
    }

    /// How many frames are handed out.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.state().used.len()
    }

    /// Whether a frame is handed out.
    #[must_use]
    pub fn is_in_use(&self, pfn: Pfn) -> bool {
        self.state().used.contains(&pfn)
    }

    /// After `n` more allocations there is no frame left. `u64::MAX` ends the shortage.
    pub fn fail_after(&self, n: u64) {
        self.state().credit = n;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: frames are RAM, in one of two disjoint sets, and only those of `free` are given out.
unsafe impl TableFrames for TablePool<'_> {
    fn alloc_table(&self) -> Option<Pfn> {
        let mut state = self.state();
        let credit = state.credit.checked_sub(1)?;
        let pfn = state.free.pop()?;
        state.credit = credit;
        state.used.insert(pfn);
        Some(pfn)
    }

    unsafe fn free_table(&self, pfn: Pfn) {
        let mut state = self.state();
        assert!(state.used.remove(&pfn), "{pfn:?} freed, but it was not handed out");
        // SAFETY: the caller has given the frame back.
        unsafe {
            assert!(self.ram.is_filled(pfn, 0), "{pfn:?} freed with something in it");
            self.ram.poison(pfn, POISON);
        }
        state.free.push(pfn);
    }
}
