//! Output of the console: what the device has in hand, in order.
//!
//! Owns: the transmit queue. Invariants: `order` holds the tokens that the device has, or has given back out
//! of order, oldest first; bytes count as done only when all before them are.

use super::SendError;
use crate::drivers::virtio::{Device, Dma, Unusable, unmask_queue};
use virtio_drivers::queue::VirtQueue;

const QUEUE: u16 = 1;
/// Pieces of output that the device can have in hand.
const SIZE: usize = 32;

/// A piece of output.
#[derive(Clone, Copy)]
enum Piece {
    /// No such token is in use.
    None,
    /// With the device.
    Sent(&'static [u8]),
    /// Given back; so many bytes.
    Done(usize),
}

/// See the module documentation.
pub struct Output {
    queue: VirtQueue<Dma, SIZE>,
    by_token: [Piece; SIZE],
    order: [u16; SIZE],
    oldest: usize,
    count: usize,
    /// Bytes done that the sender has not been told of.
    done: usize,
    /// The sender was turned away and waits for an interrupt.
    starved: bool,
}

impl Output {
    /// Sets the queue up, its interrupts off.
    pub fn new(device: &mut Device) -> Result<Self, Unusable> {
        let mut queue = device.queue(QUEUE)?;
        queue.set_dev_notify(false);
        Ok(Self {
            queue,
            by_token: [Piece::None; SIZE],
            order: [0; SIZE],
            oldest: 0,
            count: 0,
            done: 0,
            starved: false,
        })
    }

    /// Hands a piece to the device.
    pub fn send(&mut self, device: &mut Device, bytes: &'static [u8]) -> Result<(), SendError> {
        if bytes.is_empty() {
            return Ok(());
        }
        while self.count == SIZE {
            if !self.collect() {
                return Err(SendError::Lost);
            }
            // The device finishing between the look and the switch raises no interrupt: look again.
            if self.count == SIZE && !unmask_queue(&mut self.queue) {
                self.starved = true;
                return Err(SendError::Full);
            }
        }
        // SAFETY: static memory, which the sender leaves alone until it is counted as done.
        let token = unsafe { self.queue.add(&[bytes], &mut []) }.map_err(|_| SendError::Lost)?;
        self.by_token[usize::from(token) % SIZE] = Piece::Sent(bytes);
        self.order[(self.oldest + self.count) % SIZE] = token;
        self.count += 1;
        device.kick(QUEUE, &self.queue);
        Ok(())
    }

    /// Takes in what the device has finished; false when it returned what it never had.
    pub fn collect(&mut self) -> bool {
        while let Some(token) = self.queue.peek_used() {
            let Some(Piece::Sent(bytes)) = self.by_token.get(usize::from(token)).copied() else {
                return false;
            };
            // SAFETY: the same buffer as in `send`.
            if unsafe { self.queue.pop_used(token, &[bytes], &mut []) }.is_err() {
                return false;
            }
            self.by_token[usize::from(token) % SIZE] = Piece::Done(bytes.len());
            self.advance();
            // Whoever is told of this sends again by itself.
            self.starved = false;
            self.queue.set_dev_notify(false);
        }
        true
    }

    /// Counts finished pieces from the oldest on.
    fn advance(&mut self) {
        while self.count > 0 {
            let piece = &mut self.by_token[usize::from(self.order[self.oldest]) % SIZE];
            let Piece::Done(bytes) = *piece else { return };
            *piece = Piece::None;
            self.done += bytes;
            self.oldest = (self.oldest + 1) % SIZE;
            self.count -= 1;
        }
    }

    /// Bytes done since the last call.
    pub fn take_done(&mut self) -> usize {
        core::mem::take(&mut self.done)
    }

    /// Whether a sender that was turned away can go on; its interrupts are off again then.
    pub fn has_room_again(&mut self) -> bool {
        let room = self.starved && self.queue.can_pop();
        if room {
            self.starved = false;
            self.queue.set_dev_notify(false);
        }
        room
    }

    /// The device was stopped: everything that it had counts as done.
    pub fn give_up(&mut self) {
        for piece in &mut self.by_token {
            match core::mem::replace(piece, Piece::None) {
                Piece::Sent(bytes) => self.done += bytes.len(),
                Piece::Done(bytes) => self.done += bytes,
                Piece::None => {}
            }
        }
        self.count = 0;
    }
}
