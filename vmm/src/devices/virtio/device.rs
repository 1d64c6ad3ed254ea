//! What the transport and the event loop ask of a virtio device.
//!
//! Owns: the trait, and what a device gets when its driver is ready. Stays outside: registers
//! (`mmio`), rings (`queue`), and what the device does with a request.
//! Invariants: `activate` and `reset` alternate, beginning with `activate`; `process_queue` and
//! `stop_queue` may come at any time and do nothing on an inactive device.
//!
//! Source: VIRTIO 1.2, sections 2 and 3.1.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::DeviceFault;
use super::queue::DeviceQueue;
use crate::sandbox::ThreadFilter;

/// A device as transport, event loop and builder share it.
pub type SharedVirtioDevice = Arc<Mutex<dyn VirtioDevice>>;

/// What a device gets at `DRIVER_OK`.
pub struct Activation {
    /// One entry per queue; `None` for a queue the driver did not enable.
    pub queues: Vec<Option<DeviceQueue>>,
    /// The feature bits the driver accepted.
    pub features: u64,
}

/// Whether a queue has work left after one pass over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Nothing is left; the driver's next notification starts the next pass.
    Empty,
    /// The pass ended early to be fair to other devices; the caller must start another one.
    More,
    /// The device can use no further chain now; it wakes the queue itself when it can.
    Blocked,
}

/// What a device has done with work that it had given to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// Requests were finished or brought a step further.
    pub progress: bool,
    /// Requests are still under way; the event of [`VirtioDevice::prepare`] tells of them.
    pub busy: bool,
    /// When to look again at the latest, whatever the event tells.
    pub due: Option<Instant>,
}

/// A virtio device behind a transport.
pub trait VirtioDevice: Send {
    /// The device type of section 5 (2 block, 3 console).
    fn device_id(&self) -> u32;

    /// Device-specific feature bits on offer. The transport adds the generic ones.
    fn features(&self) -> u64;

    /// The largest size of each queue, in descriptors; each a power of two.
    fn queue_sizes(&self) -> &[u16];

    /// The device-specific configuration space, little-endian as the guest sees it.
    fn config(&self) -> &[u8];

    /// The driver wrote `data` at `offset` bytes into the configuration space.
    /// Offset and width are whatever the guest chose.
    fn write_config(&mut self, offset: u64, data: &[u8]);

    /// The driver is ready: the device owns its queues from here to `reset`.
    fn activate(&mut self, activation: Activation);

    /// Serves what the driver put into queue `index`.
    ///
    /// Fails when the driver broke the ring or the device can serve no further request.
    fn process_queue(&mut self, index: usize) -> Result<Backlog, DeviceFault>;

    /// As `process_queue`, without asking the driver for its next notification: for a caller that comes back by
    /// itself.
    fn poll_queue(&mut self, index: usize) -> Result<Backlog, DeviceFault> {
        self.process_queue(index)
    }

    /// Takes in what the host has finished of earlier requests. A device that does all its work in
    /// `process_queue` has nothing to add here.
    fn complete(&mut self) -> Result<Completed, DeviceFault> {
        Ok(Completed::default())
    }

    /// Makes what the device needs to work, before the calling thread loses the right to. Threads that it starts
    /// enter `helpers` first. Returns what is readable while there is something for `complete`; `None` for a device
    /// that never has.
    fn prepare(&mut self, _helpers: ThreadFilter) -> Option<RawFd> {
        None
    }

    /// The driver took queue `index` back; the device must not touch it any more on return.
    fn stop_queue(&mut self, index: usize);

    /// Back to the state before `activate`; no request touches guest memory after this returns.
    fn reset(&mut self);
}
