//! The virtio block device: one disk image, one queue.
//!
//! Owns: the device (`device`), the meaning of a request (`request`), the guest buffers of one
//! request (`buffers`), the image file (`backend`) and what the host counts (`counters`).
//! Stays outside: rings and registers (the parent module).
//!
//! A request goes down once: chain → [`request::Request`] (owned, points into guest RAM that it
//! keeps alive) → image → [`request::Completion`] → ring. A request does not borrow the queue, so
//! several can be in flight at a backend that completes later.
//!
//! Source: VIRTIO 1.2, section 5.2.

pub mod backend;
mod buffers;
pub mod counters;
mod device;
mod request;

pub use backend::{Access, DiskError, DiskImage};
pub use counters::{BlkCounters, BlkTotals};
pub use device::{Block, IdTooLong};

/// The unit of a disk address, in bytes, whatever the block size.
pub const SECTOR_SIZE: u64 = 512;
