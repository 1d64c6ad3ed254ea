//! Frame descriptors: what the memory manager knows about every 4 KiB of RAM (Linux `struct page`).
//!
//! Owns: the descriptor and its packed state word, the table of descriptors, the table of pageblocks, and lists
//! threaded through descriptors. Stays outside: which frame is given to whom (`phys`).
//! Invariants: an all-zero descriptor is a valid one and means "reserved"; the table's memory is touched only when
//! its frames are; of a block only the first descriptor, its head, says anything.
//!
//! Layout of the 32 bytes (DESIGN aims for 32, never over 64):
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | state: kind, order, migrate type, owner; bits 12 and up are for page flags |
//! | 4..12 | links of the list that the block is on |
//! | 12..32 | one word of 32 bits and two of 64 for whoever holds the block (the unions of Linux's `struct page`) |
//!
//! The holder clears what it wrote there before it gives the block back.

mod index;
mod list;
mod migrate;
mod pageblock;
mod state;
mod table;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use index::FrameIdx;
pub(crate) use list::{FrameChain, FrameList, FrameStack};
pub use migrate::MigrateType;
pub use pageblock::{Pageblock, ZoneId, ZoneKind};
pub(crate) use state::{Kind, Owner, PageType, Refused, State};
pub(crate) use table::FrameTable;
pub use table::{Tables, TablesSize};

/// The descriptor of one frame.
///
/// The words are atomic because statistics read them without a lock. State and links are only written by the
/// holder of the lock of the zone (or arena) that the frame belongs to, by a CPU with interrupts masked on whose list
/// the block is or goes, and while the block is held by its holder, so relaxed accesses are enough.
#[repr(C, align(32))]
#[derive(Default)]
pub struct Frame {
    state: AtomicU32,
    next: AtomicU32,
    prev: AtomicU32,
    held: AtomicU32,
    held_words: [AtomicU64; 2],
}

const _: () = assert!(size_of::<Frame>() == 32);

/// A descriptor of no frame: reserved, nothing held. Nobody writes it.
pub(crate) static NO_FRAME: Frame = Frame::reserved();

impl Frame {
    const fn reserved() -> Self {
        Self {
            state: AtomicU32::new(State::RESERVED.raw()),
            next: AtomicU32::new(0),
            prev: AtomicU32::new(0),
            held: AtomicU32::new(0),
            held_words: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// The state word.
    #[inline(always)]
    pub(crate) fn state(&self) -> State {
        State::from_raw(self.state.load(Ordering::Relaxed))
    }

    /// Replaces the state word.
    #[inline(always)]
    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state.raw(), Ordering::Relaxed);
    }

    /// As [`Frame::set_state`], for a block that others find from now on: who sees the new state sees what was written
    /// to the descriptor before.
    #[inline(always)]
    pub(crate) fn publish_state(&self, state: State) {
        self.state.store(state.raw(), Ordering::Release);
    }

    /// The state word of a block that somebody else may just have made.
    #[inline(always)]
    pub(crate) fn published_state(&self) -> State {
        State::from_raw(self.state.load(Ordering::Acquire))
    }

    /// Sets flags of a folio; those that were set before.
    #[inline(always)]
    pub(crate) fn set_folio_flags(&self, flags: u16) -> u16 {
        // AcqRel: a flag can be a lock, and says that what was written before it can be read.
        State::from_raw(self.state.fetch_or(State::of_folio_flags(flags), Ordering::AcqRel)).folio_flags()
    }

    /// Clears flags of a folio; those that were set before.
    #[inline(always)]
    pub(crate) fn clear_folio_flags(&self, flags: u16) -> u16 {
        State::from_raw(self.state.fetch_and(!State::of_folio_flags(flags), Ordering::AcqRel)).folio_flags()
    }

    /// Sets flags of a folio that are clear and clears those that are set.
    #[inline(always)]
    pub(crate) fn flip_folio_flags(&self, flags: u16) {
        self.state.fetch_xor(State::of_folio_flags(flags), Ordering::AcqRel);
    }

    /// The small word of whoever holds the block.
    #[inline(always)]
    pub(crate) fn held(&self) -> &AtomicU32 {
        &self.held
    }

    /// The two large words of whoever holds the block.
    #[inline(always)]
    pub(crate) fn held_words(&self) -> &[AtomicU64; 2] {
        &self.held_words
    }
}
