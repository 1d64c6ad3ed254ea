//! The slots of a disk's requests in flight, and the tasks that wait for them.
//!
//! Owns: each slot's state. Free, busy (with the device), then either done (the result waits for the owner of
//! the ticket) or, when that has lost interest, free again. Stays outside: what a request is.
//! Invariants: a slot is in `free` exactly while it is free; a slot has one owner, who alone takes
//! it from done to free. Whether the end of a slot is told is asked only while the device has it: when it has been given
//! back its owner may free it at once, and the next one may have it.

use super::{BlkError, MAX_IN_FLIGHT};
use crate::task::WaitQueue;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// A set of slots that one owner has: a bit for each.
pub type SlotSet = u128;

const _: () = assert!(MAX_IN_FLIGHT == SlotSet::BITS as usize);

/// Slots that the device has given back, by who learns of it.
#[derive(Clone, Copy, Default)]
pub struct Finished {
    /// Those whose end is told, which are whoever's who got this, until he has told.
    pub told: SlotSet,
    /// Those with a ticket.
    pub owned: SlotSet,
}

impl Finished {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.told | self.owned == 0
    }
}

/// The slots of a set, from the first on.
pub fn each(mut set: SlotSet) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let slot = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(slot)
    })
}

/// A set of slots that all CPUs change.
struct SharedSet([AtomicU64; MAX_IN_FLIGHT / u64::BITS as usize]);

impl SharedSet {
    const fn new(word: u64) -> Self {
        Self([AtomicU64::new(word), AtomicU64::new(word)])
    }

    /// The word that the bit of `slot` is in, and the bit.
    fn bit(&self, slot: usize) -> (&AtomicU64, u64) {
        (&self.0[slot % MAX_IN_FLIGHT / u64::BITS as usize], 1 << (slot % u64::BITS as usize))
    }

    fn any(&self) -> bool {
        self.0.iter().any(|word| word.load(Ordering::Acquire) != 0)
    }

    fn contains(&self, slot: usize) -> bool {
        let (word, bit) = self.bit(slot);
        word.load(Ordering::Relaxed) & bit != 0
    }

    fn insert(&self, slot: usize, order: Ordering) {
        let (word, bit) = self.bit(slot);
        word.fetch_or(bit, order);
    }

    fn remove(&self, slot: usize) {
        let (word, bit) = self.bit(slot);
        word.fetch_and(!bit, Ordering::Relaxed);
    }

    /// Takes the first slot out, if there is one.
    fn take(&self) -> Option<usize> {
        for (index, word) in self.0.iter().enumerate() {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                let rest = bits & (bits - 1);
                match word.compare_exchange_weak(bits, rest, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => return Some(index * u64::BITS as usize + bits.trailing_zeros() as usize),
                    Err(now) => bits = now,
                }
            }
        }
        None
    }
}

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
    /// What names a request that is told of.
    cookie: AtomicU64,
    owner: WaitQueue,
}

impl Slot {
    const fn new() -> Self {
        let state = AtomicU8::new(State::Free as u8);
        Self { state, cookie: AtomicU64::new(0), owner: WaitQueue::new() }
    }
}

/// See the module documentation.
pub struct Slots {
    free: SharedSet,
    /// Those whose end is told: they have no ticket.
    told: SharedSet,
    slots: [Slot; MAX_IN_FLIGHT],
}

impl Slots {
    /// All free.
    pub const fn new() -> Self {
        let (free, told) = (SharedSet::new(u64::MAX), SharedSet::new(0));
        Self { free, told, slots: [const { Slot::new() }; MAX_IN_FLIGHT] }
    }

    fn slot(&self, slot: usize) -> &Slot {
        &self.slots[slot % MAX_IN_FLIGHT]
    }

    /// Whether a slot is free.
    pub fn any_free(&self) -> bool {
        self.free.any()
    }

    /// Takes a free slot; it is busy now.
    pub fn claim(&self) -> Option<usize> {
        let slot = self.free.take()?;
        self.slot(slot).state.store(State::Busy as u8, Ordering::Relaxed);
        Some(slot)
    }

    /// Frees a slot that its owner, or the device of an abandoned one, is done with.
    pub fn release(&self, slot: usize) {
        self.slot(slot).state.store(State::Free as u8, Ordering::Relaxed);
        self.free.insert(slot, Ordering::Release);
    }

    /// The device has given `slot` back, which is among the `finished` from now on.
    pub fn complete(&self, slot: usize, outcome: Outcome, finished: &mut Finished) {
        let set = if self.is_told(slot) { &mut finished.told } else { &mut finished.owned };
        *set |= 1 << slot;
        let (busy, done) = (State::Busy as u8, State::of(outcome) as u8);
        let state = &self.slot(slot).state;
        if state.compare_exchange(busy, done, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            self.release(slot);
        }
    }

    /// The end of the claimed `slot` is told, with `cookie`. Before the device gets it.
    pub fn tell(&self, slot: usize, cookie: u64) {
        self.slot(slot).cookie.store(cookie, Ordering::Relaxed);
        self.told.insert(slot, Ordering::Relaxed);
    }

    /// Whether the end of `slot`, which the device has, is told.
    pub fn is_told(&self, slot: usize) -> bool {
        self.told.contains(slot)
    }

    /// Nobody is told of the claimed `slot`: the device did not get it.
    pub fn forget(&self, slot: usize) {
        self.told.remove(slot);
        self.release(slot);
    }

    /// Wakes the owner of `slot`, which the device has given back. Who has it by now may be somebody else, who looks again.
    pub fn wake(&self, slot: usize) {
        self.slot(slot).owner.wake_all();
    }

    /// What to tell of `slot`, one of [`Finished::told`]; it is free.
    pub fn end(&self, slot: usize) -> Option<(u64, Outcome)> {
        let cookie = self.slot(slot).cookie.load(Ordering::Relaxed);
        self.told.remove(slot);
        Some((cookie, self.take(slot)?))
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
