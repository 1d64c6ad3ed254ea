//! The three parts of a queue in shared memory. Source: VIRTIO 1.2, sections 2.7.5, 2.7.6 and 2.7.8.
//!
//! Everything but descriptors is read and written in 16-bit pieces; an entry of the used ring is complete before the
//! index that covers it, so it need not be read at once.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// Words before the entries of either ring: flags and index.
const HEADER: usize = 2;
const FLAGS: usize = 0;
const INDEX: usize = 1;
/// Words of an entry of the used ring: 32 bits of identity, 32 bits of length.
const USED_WORDS: usize = 4;

/// Where the parts of a queue lie in one block of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Offset of the available ring in bytes; the descriptors come first.
    pub available: usize,
    /// Offset of the used ring in bytes.
    pub used: usize,
    /// Bytes of all.
    pub bytes: usize,
}

impl Layout {
    /// The parts of a queue of `size` entries, one after the other, aligned as the specification wants.
    #[must_use]
    pub const fn of(size: usize) -> Self {
        let available = size * 16;
        let used = (available + 2 * Self::available_words(size)).next_multiple_of(4);
        Self { available, used, bytes: used + 2 * Self::used_words(size) }
    }

    /// 64-bit words of the descriptor table.
    #[must_use]
    pub const fn descriptor_words(size: usize) -> usize {
        size * super::DESCRIPTOR_WORDS
    }

    /// 16-bit words of the available ring, with the event index at its end.
    #[must_use]
    pub const fn available_words(size: usize) -> usize {
        HEADER + size + 1
    }

    /// 16-bit words of the used ring, with the event index at its end.
    #[must_use]
    pub const fn used_words(size: usize) -> usize {
        HEADER + USED_WORDS * size + 1
    }
}

/// The parts of one queue. All are zero before the device knows of them.
#[derive(Clone, Copy, Debug)]
pub struct Rings<'m> {
    /// [`Layout::descriptor_words`].
    pub descriptors: &'m [AtomicU64],
    /// [`Layout::available_words`].
    pub available: &'m [AtomicU16],
    /// [`Layout::used_words`].
    pub used: &'m [AtomicU16],
}

/// An entry of the used ring as the device wrote it.
pub(crate) struct UsedEntry {
    pub id: u32,
    pub len: u32,
}

fn load(ring: &[AtomicU16], index: usize, order: Ordering) -> u16 {
    ring.get(index).map_or(0, |word| u16::from_le(word.load(order)))
}

fn store(ring: &[AtomicU16], index: usize, value: u16, order: Ordering) {
    if let Some(word) = ring.get(index) {
        word.store(value.to_le(), order);
    }
}

impl Rings<'_> {
    pub(crate) fn fits(&self, size: usize) -> bool {
        self.descriptors.len() >= Layout::descriptor_words(size)
            && self.available.len() >= Layout::available_words(size)
            && self.used.len() >= Layout::used_words(size)
    }

    pub(crate) fn set_descriptor(&self, index: u16, words: [u64; super::DESCRIPTOR_WORDS]) {
        let slots = self.descriptors.iter().skip(usize::from(index) * super::DESCRIPTOR_WORDS);
        for (slot, word) in slots.zip(words) {
            slot.store(word.to_le(), Ordering::Relaxed);
        }
    }

    pub(crate) fn set_available(&self, slot: usize, head: u16) {
        store(self.available, HEADER + slot, head, Ordering::Relaxed);
    }

    /// What was made available before is visible to a device that sees the index.
    pub(crate) fn set_available_index(&self, index: u16) {
        store(self.available, INDEX, index, Ordering::Release);
    }

    pub(crate) fn set_interrupt_flag(&self, flag: u16) {
        store(self.available, FLAGS, flag, Ordering::Relaxed);
    }

    pub(crate) fn set_used_event(&self, size: usize, index: u16) {
        store(self.available, HEADER + size, index, Ordering::Relaxed);
    }

    /// What the device used before is visible to who sees the index.
    pub(crate) fn used_index(&self) -> u16 {
        load(self.used, INDEX, Ordering::Acquire)
    }

    pub(crate) fn notify_flag(&self) -> u16 {
        load(self.used, FLAGS, Ordering::Relaxed)
    }

    pub(crate) fn available_event(&self, size: usize) -> u16 {
        load(self.used, HEADER + USED_WORDS * size, Ordering::Relaxed)
    }

    pub(crate) fn used_entry(&self, slot: usize) -> UsedEntry {
        let word = |n| u32::from(load(self.used, HEADER + USED_WORDS * slot + n, Ordering::Relaxed));
        UsedEntry { id: word(0) | word(1) << 16, len: word(2) | word(3) << 16 }
    }
}
