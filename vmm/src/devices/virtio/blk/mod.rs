//! The virtio block device: one disk image, one or more queues, many requests in flight.
//!
//! Stays outside: rings and registers (the parent module).
//!
//! | file | job |
//! |---|---|
//! | `worker` | the disk's thread |
//! | `device` | features and queues |
//! | `core` | the disk without its queues |
//! | `request` | what a descriptor chain means |
//! | `flight` | a request under way |
//! | `stream` | when the host gets more of a stream |
//! | `readahead` | how far the host reads ahead |
//! | `faults` | what goes wrong on purpose |
//! | `engine` | who moves the bytes |
//! | `buffers` | the guest's memory of one request |
//! | `image` | the file |
//! | `geometry` | the configuration space and its limits |
//! | `counters`, `histogram` | what the host counts |
//!
//! A request goes down once: chain → `Request` (owned, points into guest RAM that it keeps alive) → `Flight` →
//! engine, and comes back once: `Done` → `Completion` → ring. Many are in flight, and they end in any order.
//!
//! Source: VIRTIO 1.2, section 5.2.

mod buffers;
mod core;
pub mod counters;
mod device;
mod engine;
pub mod faults;
mod flight;
mod geometry;
pub mod histogram;
pub mod image;
mod readahead;
mod request;
mod stream;
mod worker;

pub use counters::{BlkCounters, BlkTotals, LogEntry, RequestKind};
pub use device::{Block, BlockError, BlockOptions};
pub use engine::EngineKind;
pub use faults::FaultPlan;
pub use geometry::MAX_QUEUES;
pub use histogram::Histogram;
pub use image::{Access, Cache, DiskError, DiskImage};
pub use worker::{DiskThread, DiskWorker};

/// The unit of a disk address, in bytes, whatever the block size.
pub const SECTOR_SIZE: u64 = 512;
