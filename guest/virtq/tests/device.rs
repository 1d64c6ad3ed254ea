//! A device's view of the rings, and memory for them.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use virtq::{Layout, Queue, Rings};

pub const N: usize = 8;

/// Shared memory for one queue.
pub struct Memory {
    pub descriptors: Vec<AtomicU64>,
    pub available: Vec<AtomicU16>,
    pub used: Vec<AtomicU16>,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            descriptors: (0..Layout::descriptor_words(N)).map(|_| AtomicU64::new(0)).collect(),
            available: (0..Layout::available_words(N)).map(|_| AtomicU16::new(0)).collect(),
            used: (0..Layout::used_words(N)).map(|_| AtomicU16::new(0)).collect(),
        }
    }

    pub fn queue(&self, event_idx: bool) -> Queue<'_, N> {
        let rings = Rings { descriptors: &self.descriptors, available: &self.available, used: &self.used };
        Queue::new(rings, event_idx).unwrap()
    }
}

/// A descriptor as the device reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub addr: u64,
    pub len: u32,
    pub flags: u16,
}

/// An honest device.
pub struct Device<'m> {
    memory: &'m Memory,
    event_idx: bool,
    pub next_available: u16,
    next_used: u16,
    /// `next_used` when the driver was last considered for an interrupt.
    told: u16,
}

fn get(words: &[AtomicU16], index: usize) -> u16 {
    words[index].load(Ordering::SeqCst)
}

impl<'m> Device<'m> {
    pub fn new(memory: &'m Memory, event_idx: bool) -> Self {
        Self { memory, event_idx, next_available: 0, next_used: 0, told: 0 }
    }

    /// Takes the next chain: its head and descriptors.
    pub fn pop(&mut self) -> Option<(u16, Vec<Descriptor>)> {
        if get(&self.memory.available, 1) == self.next_available {
            return None;
        }
        let head = get(&self.memory.available, 2 + usize::from(self.next_available) % N);
        self.next_available = self.next_available.wrapping_add(1);
        let mut chain = Vec::new();
        let mut index = head;
        loop {
            let words: Vec<_> = (0..2)
                .map(|n| self.memory.descriptors[2 * usize::from(index) + n].load(Ordering::SeqCst))
                .collect();
            let flags = (words[1] >> 32) as u16;
            chain.push(Descriptor { addr: words[0], len: words[1] as u32, flags: flags & !1 });
            if flags & 1 == 0 {
                return Some((head, chain));
            }
            index = (words[1] >> 48) as u16;
            assert!(chain.len() <= N, "the chain loops");
        }
    }

    /// Gives a chain back.
    pub fn push(&mut self, head: u16, len: u32) {
        let at = 2 + 4 * (usize::from(self.next_used) % N);
        let words = [head, 0, len as u16, (len >> 16) as u16];
        for (n, word) in words.into_iter().enumerate() {
            self.memory.used[at + n].store(word, Ordering::SeqCst);
        }
        self.next_used = self.next_used.wrapping_add(1);
        self.memory.used[1].store(self.next_used, Ordering::SeqCst);
    }

    /// Whether the driver is to be interrupted for what was given back since the last call: the specification's
    /// words, index by index.
    pub fn interrupts(&mut self) -> bool {
        let mut wanted = false;
        while self.told != self.next_used {
            wanted |= match self.event_idx {
                true => get(&self.memory.available, 2 + N) == self.told,
                false => get(&self.memory.available, 0) & 1 == 0,
            };
            self.told = self.told.wrapping_add(1);
        }
        wanted
    }

    /// Asks for a notification of the next chain. Returns whether there is one already.
    pub fn arm(&mut self) -> bool {
        if self.event_idx {
            self.memory.used[2 + 4 * N].store(self.next_available, Ordering::SeqCst);
        } else {
            self.memory.used[0].store(0, Ordering::SeqCst);
        }
        get(&self.memory.available, 1) != self.next_available
    }

    /// Asks for no notifications, as far as that can be.
    pub fn disarm(&mut self) {
        if !self.event_idx {
            self.memory.used[0].store(1, Ordering::SeqCst);
        }
    }
}
