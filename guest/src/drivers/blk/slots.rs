//! The slots of a disk's requests in flight, and the tasks that wait for them.
//!
//! Owns: each slot's state. Free, busy (with the device), then either done (the result waits for the owner of
//! the ticket) or, when that has lost interest, free again. Stays outside: what a request is.
//! Invariants: a bit of `free` is set exactly while its slot is free; a slot has one owner, who alone takes
//! it from done to free.

use super::{BlkError, MAX_IN_FLIGHT};
use crate::task::WaitQueue;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What became of a request.
pub type Outcome = Result<(), BlkError>;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Free,
    Busy,
    /// Busy, and nobody wants the result.
    Abandoned,
    Done,
    DoneIo,
    DoneUnsupported,
    DoneLost,
}

impl State {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Ok(()) => Self::Done,
            Err(BlkError::Unsupported) => Self::DoneUnsupported,
            Err(BlkError::Lost) => Self::DoneLost,
            Err(_) => Self::DoneIo,
        }
    }

    fn outcome(raw: u8) -> Option<Outcome> {
        match raw {
            raw if raw == Self::Done as u8 => Some(Ok(())),
            raw if raw == Self::DoneIo as u8 => Some(Err(BlkError::Io)),
            raw if raw == Self::DoneUnsupported as u8 => Some(Err(BlkError::Unsupported)),
            raw if raw == Self::DoneLost as u8 => Some(Err(BlkError::Lost)),
            _ => None,
        }
    }
}

struct Slot {
    state: AtomicU8,
    owner: WaitQueue,
}

impl Slot {
    const fn new() -> Self {
        Self { state: AtomicU8::new(State::Free as u8), owner: WaitQueue::new() }
    }
}

/// See the module documentation.
pub struct Slots {
    free: AtomicU64,
    slots: [Slot; MAX_IN_FLIGHT],
}

const _: () = assert!(MAX_IN_FLIGHT == u64::BITS as usize);

impl Slots {
    /// All free.
    pub const fn new() -> Self {
        Self { free: AtomicU64::new(u64::MAX), slots: [const { Slot::new() }; MAX_IN_FLIGHT] }
    }

    fn slot(&self, slot: usize) -> &Slot {
        &self.slots[slot % MAX_IN_FLIGHT]
    }

    /// Whether a slot is free.
    pub fn any_free(&self) -> bool {
        self.free.load(Ordering::Acquire) != 0
    }

    /// Takes a free slot; it is busy now.
    pub fn claim(&self) -> Option<usize> {
        let mut free = self.free.load(Ordering::Relaxed);
        while free != 0 {
            let rest = free & (free - 1);
            match self.free.compare_exchange_weak(free, rest, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    let slot = free.trailing_zeros() as usize;
                    self.slot(slot).state.store(State::Busy as u8, Ordering::Relaxed);
                    return Some(slot);
                }
                Err(now) => free = now,
            }
        }
        None
    }

    /// Frees a slot that its owner, or the device of an abandoned one, is done with.
    pub fn release(&self, slot: usize) {
        self.slot(slot).state.store(State::Free as u8, Ordering::Relaxed);
        self.free.fetch_or(1 << (slot % MAX_IN_FLIGHT), Ordering::Release);
    }

    /// The device has given `slot` back. The owner learns of it by [`Slots::wake`].
    pub fn complete(&self, slot: usize, outcome: Outcome) {
        let (busy, done) = (State::Busy as u8, State::of(outcome) as u8);
        let state = &self.slot(slot).state;
        if state.compare_exchange(busy, done, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            self.release(slot);
        }
    }

    /// Wakes the owner of `slot`.
    pub fn wake(&self, slot: usize) {
        self.slot(slot).owner.wake_all();
    }

    /// Whether the device has given `slot` back.
    pub fn is_done(&self, slot: usize) -> bool {
        State::outcome(self.slot(slot).state.load(Ordering::Acquire)).is_some()
    }

    /// The result, and with it the end of the slot; `None` while the device has it.
    pub fn take(&self, slot: usize) -> Option<Outcome> {
        let outcome = State::outcome(self.slot(slot).state.load(Ordering::Acquire))?;
        self.release(slot);
        Some(outcome)
    }

    /// Sleeps until the device has given `slot` back.
    pub fn wait(&self, slot: usize) {
        self.slot(slot).owner.wait_until(|| self.is_done(slot));
    }

    /// The owner has lost interest: the slot is freed once the device has given it back.
    pub fn abandon(&self, slot: usize) {
        let (busy, abandoned) = (State::Busy as u8, State::Abandoned as u8);
        let state = &self.slot(slot).state;
        if state.compare_exchange(busy, abandoned, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.release(slot);
        }
    }
}
