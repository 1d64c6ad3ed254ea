//! The block device: configuration space, feature bits, and how a request is carried out.
//!
//! Owns: the disk's identity, its capacity check, and the order parse → do → complete.
//! Stays outside: the request format (`request`), the file (`backend`).
//! Invariants: no byte outside the capacity is read or written; a read-only disk is never
//! written; the counters move before the guest learns of a completion.
//!
//! Requests are done one after the other on the thread that serves the queue.
//!
//! Source: VIRTIO 1.2, sections 5.2.3 to 5.2.6.

use std::ops::ControlFlow;
use std::sync::Arc;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_ID_BYTES,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

use super::super::DeviceFault;
use super::super::device::{Activation, Backlog, VirtioDevice};
use super::super::queue::DeviceQueue;
use super::SECTOR_SIZE;
use super::backend::{Access, DiskImage};
use super::buffers::Durability;
use super::counters::BlkCounters;
use super::request::{Completion, Operation, Rejected, Request, Status};

const QUEUE_SIZE: u16 = 256;
/// Data buffers that fit into the ring beside the header and the status.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
const ID_BYTES: usize = VIRTIO_BLK_ID_BYTES as usize;
/// `struct virtio_blk_config` up to and with `num_queues`.
const CONFIG_BYTES: usize = 36;

/// The name of a disk is longer than the 20 bytes a guest can be told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("disk id `{0}` is longer than 20 bytes; give a shorter one with `id=`")]
pub struct IdTooLong(String);

/// A virtio disk.
pub struct Block {
    image: DiskImage,
    id: [u8; ID_BYTES],
    config: [u8; CONFIG_BYTES],
    counters: Arc<BlkCounters>,
    queue: Option<DeviceQueue>,
    durability: Durability,
}

impl Block {
    /// A disk on `image` that calls itself `id` (at most 20 bytes).
    pub fn new(image: DiskImage, id: &str) -> Result<Self, IdTooLong> {
        let mut padded = [0; ID_BYTES];
        padded.get_mut(..id.len()).ok_or_else(|| IdTooLong(id.to_owned()))?.copy_from_slice(id.as_bytes());
        Ok(Self {
            config: config_space(image.size()),
            image,
            id: padded,
            counters: Arc::default(),
            queue: None,
            durability: Durability::Cached,
        })
    }

    /// What the disk has done so far, readable while the machine runs.
    pub fn counters(&self) -> Arc<BlkCounters> {
        self.counters.clone()
    }

    /// Byte offset of `sector`, if `bytes` from there on are whole sectors inside the disk.
    fn locate(&self, sector: u64, bytes: u64) -> Option<u64> {
        let offset = sector.checked_mul(SECTOR_SIZE)?;
        let end = offset.checked_add(bytes)?;
        (end <= self.image.size() && bytes.is_multiple_of(SECTOR_SIZE)).then_some(offset)
    }

    fn execute(&self, mut request: Request) -> Completion {
        let completion = match request.operation {
            Operation::Read { sector } => self.read(sector, &mut request),
            Operation::Write { sector } => self.write(sector, &mut request),
            Operation::Flush => self.flush(&request),
            Operation::GetId => self.tell_id(&request),
            Operation::Unknown => request.complete(Status::Unsupported, 0),
        };
        if completion.is_error() {
            self.counters.error();
        }
        completion
    }

    fn read(&self, sector: u64, request: &mut Request) -> Completion {
        let bytes = request.data.bytes();
        let Some(offset) = self.locate(sector, bytes) else {
            return request.complete(Status::IoError, 0);
        };
        let (filled, result) = self.image.read(offset, &mut request.data);
        // Data of one chain is below 4 GiB.
        let filled = u32::try_from(filled).unwrap_or(u32::MAX);
        if result.is_err() {
            return request.complete(Status::IoError, filled);
        }
        self.counters.read(bytes);
        request.complete(Status::Ok, filled)
    }

    fn write(&self, sector: u64, request: &mut Request) -> Completion {
        let bytes = request.data.bytes();
        let Some(offset) = self.locate(sector, bytes).filter(|_| self.image.access() == Access::ReadWrite)
        else {
            return request.complete(Status::IoError, 0);
        };
        if self.image.write(offset, &mut request.data, self.durability).is_err() {
            return request.complete(Status::IoError, 0);
        }
        self.counters.write(bytes);
        request.complete(Status::Ok, 0)
    }

    fn flush(&self, request: &Request) -> Completion {
        if self.image.flush().is_err() {
            return request.complete(Status::IoError, 0);
        }
        self.counters.flush();
        request.complete(Status::Ok, 0)
    }

    fn tell_id(&self, request: &Request) -> Completion {
        let filled = request.data.store(&self.id);
        request.complete(Status::Ok, filled)
    }
}

impl VirtioDevice for Block {
    fn device_id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let read_only = match self.image.access() {
            Access::ReadWrite => 0,
            Access::ReadOnly => 1 << VIRTIO_BLK_F_RO,
        };
        1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE | read_only
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    /// The disk has no writable field: VIRTIO_BLK_F_CONFIG_WCE is not offered.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, activation: Activation) {
        // A driver that cannot flush must find every completed write stable (section 5.2.6.2).
        self.durability = match activation.features & 1 << VIRTIO_BLK_F_FLUSH {
            0 => Durability::Through,
            _ => Durability::Cached,
        };
        self.queue = activation.queues.into_iter().next().flatten();
    }

    fn process_queue(&mut self, index: usize) -> Result<Backlog, DeviceFault> {
        // Out of `self` for the pass, so that requests can use the rest of the device.
        let Some(mut queue) = self.queue.take_if(|_| index == 0) else { return Ok(Backlog::Empty) };
        let outcome = queue.pass(|queue, chain| {
            match Request::parse(chain, queue.memory()) {
                Ok(request) => self.execute(request),
                Err(Rejected::Answer(completion)) => {
                    self.counters.error();
                    completion
                }
                Err(Rejected::Fault(fault)) => return Err(fault),
            }
            .deliver(queue)
            .map(ControlFlow::Continue)
        });
        self.queue = Some(queue);
        outcome
    }

    fn stop_queue(&mut self, index: usize) {
        self.queue.take_if(|_| index == 0);
    }

    fn reset(&mut self) {
        self.queue = None;
    }
}

/// `struct virtio_blk_config` for a disk of `size` bytes.
fn config_space(size: u64) -> [u8; CONFIG_BYTES] {
    let mut config = [0; CONFIG_BYTES];
    let mut put = |offset: usize, field: &[u8]| {
        for (to, from) in config.iter_mut().skip(offset).zip(field) {
            *to = *from;
        }
    };
    put(0, &(size / SECTOR_SIZE).to_le_bytes());
    put(12, &SEG_MAX.to_le_bytes());
    put(20, &(SECTOR_SIZE as u32).to_le_bytes());
    // Meaningful only with VIRTIO_BLK_F_MQ, which one queue does not need.
    put(34, &1u16.to_le_bytes());
    config
}
