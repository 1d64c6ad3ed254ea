//! The queue itself: chains go in, used ones come out.

use core::sync::atomic::{Ordering, fence};

use super::descriptor::{Access, Buffer, encode};
use super::rings::Rings;

/// VRING_AVAIL_F_NO_INTERRUPT.
const NO_INTERRUPT: u16 = 1;
/// VRING_USED_F_NO_NOTIFY.
const NO_NOTIFY: u16 = 1;
/// No descriptor.
const NONE: u16 = u16::MAX;

/// There are not enough free descriptors, or the chain is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The device has written what no device may: it cannot be trusted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A chain that the device has given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// What it was added with.
    pub token: u16,
    /// Bytes that the device says it has written.
    pub len: u32,
}

/// What the driver remembers of a descriptor, out of the device's reach.
#[derive(Clone, Copy)]
struct Memo {
    /// The next one of its chain, or of the free list.
    next: u16,
    /// Descriptors of the chain that begins here; 0 when none does.
    chain: u16,
    token: u16,
}

/// A queue of `N` entries, a power of two up to 2^15.
pub struct Queue<'m, const N: usize> {
    rings: Rings<'m>,
    event_idx: bool,
    memos: [Memo; N],
    free: u16,
    free_count: u16,
    /// The index after the last chain that was made available.
    available: u16,
    /// The same when [`Queue::wants_kick`] was last asked.
    announced: u16,
    /// The index after the last used chain that was taken.
    taken: u16,
}

impl<'m, const N: usize> Queue<'m, N> {
    const SIZE: u16 = {
        assert!(N.is_power_of_two() && N <= 1 << 15);
        N as u16
    };

    /// An empty queue on `rings`, which are zero; `None` when they are too small. `event_idx` says whether
    /// VIRTIO_RING_F_EVENT_IDX was negotiated.
    #[must_use]
    pub fn new(rings: Rings<'m>, event_idx: bool) -> Option<Self> {
        let memo = |n: usize| Memo { next: if n + 1 == N { NONE } else { n as u16 + 1 }, chain: 0, token: 0 };
        rings.fits(N).then(|| Self {
            rings,
            event_idx,
            memos: core::array::from_fn(memo),
            free: 0,
            free_count: Self::SIZE,
            available: 0,
            announced: 0,
            taken: 0,
        })
    }

    /// Descriptors that are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free_count.into()
    }

    /// Adds a chain, device-readable buffers first, and lets the device see it. It may begin at once; whether it must
    /// be told is for [`Queue::wants_kick`], after one chain or many.
    ///
    /// # Errors
    /// [`Full`], and nothing was added.
    pub fn add(&mut self, token: u16, buffers: impl ExactSizeIterator<Item = Buffer>) -> Result<(), Full> {
        let count = u16::try_from(buffers.len()).map_err(|_| Full)?;
        if count == 0 || count > self.free_count {
            return Err(Full);
        }
        let head = self.free;
        let mut last = head;
        // A length that lies leaves the chain shorter, never longer.
        let mut written = 0;
        for buffer in buffers.take(count.into()) {
            let Some(memo) = self.memos.get(usize::from(self.free)) else { break };
            written += 1;
            let next = Some(memo.next).filter(|_| written < count);
            self.rings.set_descriptor(self.free, encode(buffer, next));
            last = self.free;
            self.free = memo.next;
        }
        debug_assert_eq!(written, count, "the iterator was as long as it said");
        self.free_count -= written;
        if let Some(memo) = self.memos.get_mut(usize::from(last)) {
            memo.next = NONE;
        }
        if let Some(memo) = self.memos.get_mut(usize::from(head)) {
            (memo.chain, memo.token) = (written, token);
        }
        self.rings.set_available(usize::from(self.available) % N, head);
        self.available = self.available.wrapping_add(1);
        self.rings.set_available_index(self.available);
        Ok(())
    }

    /// Adds a chain of which the device finds `count` descriptors in memory at `table`; needs
    /// VIRTIO_RING_F_INDIRECT_DESC.
    ///
    /// # Errors
    /// As [`Queue::add`].
    pub fn add_indirect(&mut self, token: u16, table: u64, count: u16) -> Result<(), Full> {
        let len = u32::from(count) * 16;
        self.add(token, core::iter::once(Buffer { addr: table, len, access: Access::Indirect }))
    }

    /// Whether the device wants to be told of what was added since the last call.
    #[must_use = "true means that the device sleeps until it is told"]
    pub fn wants_kick(&mut self) -> bool {
        let added = self.available.wrapping_sub(self.announced);
        self.announced = self.available;
        // The device asks for notifications and then looks for chains; the chains must be visible before what it
        // asked for is read.
        fence(Ordering::SeqCst);
        if added == 0 {
            return false;
        }
        if self.event_idx {
            // Whether the index asked for lies among those added (section 2.7.10.1), modulo 2^16.
            let event = self.rings.available_event(N);
            self.available.wrapping_sub(event).wrapping_sub(1) < added
        } else {
            self.rings.notify_flag() & NO_NOTIFY == 0
        }
    }

    /// Whether the device has given something back that was not taken yet.
    #[must_use]
    pub fn has_used(&self) -> bool {
        self.rings.used_index() != self.taken
    }

    /// Takes the next chain that the device has given back.
    ///
    /// # Errors
    /// [`Broken`] when the device gives back what it never had, or more than it can have.
    pub fn take(&mut self) -> Result<Option<Used>, Broken> {
        match self.rings.used_index().wrapping_sub(self.taken) {
            0 => return Ok(None),
            waiting if usize::from(waiting) > N => return Err(Broken),
            _ => {}
        }
        let entry = self.rings.used_entry(usize::from(self.taken) % N);
        let head = u16::try_from(entry.id).map_err(|_| Broken)?;
        let memo = self.memos.get_mut(usize::from(head)).filter(|memo| memo.chain != 0).ok_or(Broken)?;
        let (token, count) = (memo.token, core::mem::take(&mut memo.chain));
        self.release(head, count);
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(Used { token, len: entry.len }))
    }

    /// Puts a chain of `count` descriptors in front of the free list.
    fn release(&mut self, head: u16, count: u16) {
        let mut last = head;
        while let Some(next) =
            self.memos.get(usize::from(last)).map(|memo| memo.next).filter(|&next| next != NONE)
        {
            last = next;
        }
        if let Some(memo) = self.memos.get_mut(usize::from(last)) {
            memo.next = self.free;
        }
        self.free = head;
        self.free_count += count;
    }

    /// Asks for no interrupts. The device may still send some.
    pub fn suppress_interrupts(&mut self) {
        if self.event_idx {
            // Far from every index of this round: a device that looks only after several chains looks at indexes that
            // have been taken meanwhile, too.
            self.rings.set_used_event(N, self.taken.wrapping_add(1 << 15));
        } else {
            self.rings.set_interrupt_flag(NO_INTERRUPT);
        }
    }

    /// Asks for an interrupt at the next used chain. Returns whether there is one already, for which no interrupt
    /// may come.
    #[must_use = "true means that nobody may tell"]
    pub fn request_interrupt(&mut self) -> bool {
        if self.event_idx {
            self.rings.set_used_event(N, self.taken);
        } else {
            self.rings.set_interrupt_flag(0);
        }
        // The device adds a used chain and then looks at what was asked for; that must be visible before the ring
        // is read.
        fence(Ordering::SeqCst);
        self.has_used()
    }
}
