//! A chain of descriptors, as it lies in guest memory.
//!
//! Owns: the walk along a chain, through its indirect table if it has one. Stays outside: which chains there are
//! (`queue`), what the buffers are for.
//! Invariants: a walk ends, whatever the driver wrote: it takes no more steps than its table has entries. Every
//! descriptor is read once.
//!
//! Why not `virtio-queue`'s: it copies descriptors byte by byte through slices of memory, which took a disk longer than
//! everything else that it does with a request. Source: VIRTIO 1.2, sections 2.7.5 and 2.7.5.3.

use std::sync::atomic::Ordering;

use virtio_queue::desc::split::Descriptor;
use vm_memory::{Address, Bytes, GuestAddress};

use crate::memory::GuestRam;

/// Bytes of a descriptor.
const DESCRIPTOR: u32 = 16;
/// Bytes that are read at once.
const WORD: u64 = 8;

/// A chain that the driver made available: an iterator over its descriptors. It just ends where the chain is broken; then
/// the last descriptor wants a next.
#[derive(Clone, Debug)]
pub struct Chain<'m> {
    memory: &'m GuestRam,
    head: u16,
    /// Where the walk is: the table, its entries, and the next one of them.
    table: GuestAddress,
    size: u16,
    next: u16,
    /// Steps that may still be taken.
    left: u16,
    indirect: bool,
    /// Bytes of the buffers so far. No chain is longer than 4 GiB (section 2.7.5.2).
    bytes: u32,
}

impl<'m> Chain<'m> {
    /// The chain that begins at entry `head` of the queue's table, which has `size` entries.
    pub(super) fn new(memory: &'m GuestRam, table: GuestAddress, size: u16, head: u16) -> Self {
        Self { memory, head, table, size, next: head, left: size, indirect: false, bytes: 0 }
    }

    /// The entry at which it begins, which is its name when it is given back.
    pub fn head_index(&self) -> u16 {
        self.head
    }

    /// Goes on in the indirect table that `descriptor` names, if it may.
    fn enter(&mut self, descriptor: Descriptor) -> Option<()> {
        if self.indirect || !descriptor.len().is_multiple_of(DESCRIPTOR) {
            return None;
        }
        self.size = u16::try_from(descriptor.len() / DESCRIPTOR).ok()?;
        (self.table, self.next, self.left, self.indirect) = (descriptor.addr(), 0, self.size, true);
        Some(())
    }

    /// Reads the next descriptor.
    fn read(&self) -> Option<Descriptor> {
        if self.left == 0 || self.next >= self.size {
            return None;
        }
        let at = self.table.checked_add(u64::from(self.next) * u64::from(DESCRIPTOR))?;
        if !at.0.is_multiple_of(WORD) {
            // An indirect table may lie anywhere.
            return self.memory.read_obj(at).ok();
        }
        let word = |at| self.memory.load(at, Ordering::Relaxed).map(u64::from_le).ok();
        let (address, rest) = (word(at)?, word(at.checked_add(WORD)?)?);
        Some(Descriptor::new(address, rest as u32, (rest >> 32) as u16, (rest >> 48) as u16))
    }
}

impl Iterator for Chain<'_> {
    type Item = Descriptor;

    fn next(&mut self) -> Option<Descriptor> {
        let mut descriptor = self.read()?;
        if descriptor.refers_to_indirect_table() {
            self.enter(descriptor)?;
            descriptor = self.read()?;
            if descriptor.refers_to_indirect_table() {
                return None;
            }
        }
        self.bytes = self.bytes.checked_add(descriptor.len())?;
        if descriptor.has_next() {
            self.next = descriptor.next();
            self.left -= 1;
        } else {
            self.left = 0;
        }
        Some(descriptor)
    }
}
