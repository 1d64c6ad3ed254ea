//! The data segments of requests in flight.
//!
//! Owns: a pool of as many entries as a queue has descriptors, so that a request for which the queue has
//! descriptors always finds room. Invariants: an entry is on the free list or on the list of one request.

use core::ptr::NonNull;

/// No entry.
const NONE: u16 = u16::MAX;

#[derive(Clone, Copy)]
struct Entry {
    data: NonNull<[u8]>,
    next: u16,
}

/// The segments of one request.
#[derive(Clone, Copy)]
pub struct List {
    first: u16,
}

impl List {
    /// No segments.
    pub const EMPTY: Self = Self { first: NONE };
}

/// See the module documentation.
pub struct Pool<const N: usize> {
    entries: [Entry; N],
    free: u16,
}

// SAFETY: the pointers are only handed on; what they point at belongs to the requests' owners.
unsafe impl<const N: usize> Send for Pool<N> {}

impl<const N: usize> Pool<N> {
    /// All entries free.
    pub fn new() -> Self {
        let empty = NonNull::slice_from_raw_parts(NonNull::dangling(), 0);
        let mut pool = Self { entries: [Entry { data: empty, next: NONE }; N], free: NONE };
        for (n, entry) in pool.entries.iter_mut().enumerate() {
            entry.next = pool.free;
            pool.free = n as u16;
        }
        pool
    }

    /// Adds a segment to the front of `list`; false when the pool is empty.
    #[must_use = "false means that the segment is not in the list"]
    pub fn push(&mut self, list: &mut List, data: NonNull<[u8]>) -> bool {
        let taken = self.free;
        let Some(entry) = self.entries.get_mut(usize::from(taken)) else { return false };
        self.free = entry.next;
        *entry = Entry { data, next: list.first };
        list.first = taken;
        true
    }

    /// The segments of `list`, last added first.
    pub fn iter(&self, list: List) -> impl Iterator<Item = NonNull<[u8]>> {
        let mut next = list.first;
        core::iter::from_fn(move || {
            let entry = self.entries.get(usize::from(next))?;
            next = entry.next;
            Some(entry.data)
        })
    }

    /// Takes back all entries of `list`.
    pub fn release(&mut self, list: &mut List) {
        while let Some(entry) = self.entries.get_mut(usize::from(list.first)) {
            let next = entry.next;
            entry.next = self.free;
            self.free = list.first;
            list.first = next;
        }
    }
}
