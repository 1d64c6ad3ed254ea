//! Virtio over MMIO: from a register window to a device that has accepted us.
//!
//! Owns: opening a window, negotiating features, the meaning of interrupts. Stays outside: queues and registers
//! (the `virtio-drivers` crate), what a device does (`blk`, `console`).
//! Invariants: only version 1 devices. Queues of the crate have neither indirect descriptors nor event indices: with
//! the latter it can neither switch interrupts off nor tell reliably that a device wants to be notified (it compares
//! the indices without wrap-around). Queues of our own (`split`) have both.
//! Source: VIRTIO 1.2, sections 3.1.1, 4.2.2 and 4.2.3.

mod dma;
mod split;

pub use dma::Dma;
pub use split::Doorbell;

use crate::memory::areas;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use mm::addr::PhysAddr;
use shared::params::VirtioMmio;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport};
use virtio_drivers::transport::{DeviceStatus, DeviceType, DeviceTypeError, InterruptStatus, Transport as _};

/// VIRTIO_RING_F_INDIRECT_DESC.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// VIRTIO_RING_F_EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_VERSION_1.
const VERSION_1: u64 = 1 << 32;
/// Our monitor's vendor id: each event there is an edge of its own, whether or not the one before has been
/// acknowledged. Elsewhere the line stays high until then.
const PULSING_VENDOR: u32 = u32::from_le_bytes(*b"BLST");

/// Registers and configuration space of any device of ours are shorter than this, in bytes.
const REGISTERS_MAX: u64 = 4096;

/// Why a device is not used.
#[derive(Clone, Debug)]
pub enum Unusable {
    /// No room for its registers in the address space, or an impossible address.
    Window,
    /// The registers are not a device's.
    Registers(MmioError),
    /// A device of before VIRTIO 1.0.
    Legacy,
    /// The device does not accept our choice of its features.
    Refused,
    /// A queue could not be set up.
    Queue(virtio_drivers::Error),
    /// No memory for the driver.
    NoMemory,
    /// The first request was not answered in time.
    Silent,
    /// There are too many of its kind.
    TooMany,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window => write!(f, "its registers cannot be mapped"),
            Self::Registers(error) => write!(f, "{error}"),
            Self::Legacy => write!(
                f,
                "it offers only the legacy interface; under QEMU add -global virtio-mmio.force-legacy=false"
            ),
            Self::Refused => write!(f, "it refuses every feature set that this kernel can use"),
            Self::Queue(error) => write!(f, "its queue cannot be used: {error}"),
            Self::NoMemory => write!(f, "no memory for its driver"),
            Self::Silent => write!(f, "it does not answer"),
            Self::TooMany => write!(f, "there are too many devices of its kind"),
        }
    }
}

impl From<virtio_drivers::Error> for Unusable {
    fn from(error: virtio_drivers::Error) -> Self {
        Self::Queue(error)
    }
}

/// One device: its registers, mapped for good.
pub struct Device {
    transport: MmioTransport<'static>,
    /// Its registers.
    registers: NonNull<u8>,
    pulsing: bool,
}

// SAFETY: the registers are mapped for good, for every CPU, and the device has one owner.
unsafe impl Send for Device {}

/// What an interrupt may be about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Used buffers.
    Queues,
    /// The configuration or the status has changed too.
    Configuration,
}

impl Device {
    /// Opens a window; `None` when no device is plugged in there.
    ///
    /// # Safety
    /// No other open window overlaps this one.
    pub unsafe fn open(window: &VirtioMmio) -> Result<Option<Self>, Unusable> {
        let size = window.size.min(REGISTERS_MAX);
        let base = PhysAddr::new(window.base).filter(|base| base.get().is_multiple_of(4));
        let registers = base.and_then(|base| areas::ioremap(base, size)).ok_or(Unusable::Window)?;
        // SAFETY: the window was just mapped for good, and no other overlaps it.
        match unsafe { MmioTransport::new(registers.cast(), size as usize) } {
            Ok(transport) => {
                let pulsing = transport.vendor_id() == PULSING_VENDOR;
                Ok(Some(Self { transport, registers: registers.cast(), pulsing }))
            }
            Err(MmioError::InvalidDeviceID(DeviceTypeError::InvalidDeviceType(0))) => Ok(None),
            Err(error) => Err(Unusable::Registers(error)),
        }
    }

    /// What kind of device it is.
    pub fn kind(&self) -> DeviceType {
        self.transport.device_type()
    }

    /// Resets the device and agrees on those of the `wanted` features that it offers; returns them.
    pub fn negotiate(&mut self, wanted: u64) -> Result<u64, Unusable> {
        let known = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
        self.transport.set_status(DeviceStatus::empty());
        self.transport.set_status(known);
        let offered = self.transport.read_device_features();
        if offered & VERSION_1 == 0 {
            return Err(Unusable::Legacy);
        }
        self.transport.write_driver_features(offered & (wanted | VERSION_1));
        self.transport.set_status(known | DeviceStatus::FEATURES_OK);
        if self.transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            Ok(offered & wanted)
        } else {
            Err(Unusable::Refused)
        }
    }

    /// Sets up queue `index`.
    pub fn queue<const SIZE: usize>(&mut self, index: u16) -> Result<VirtQueue<Dma, SIZE>, Unusable> {
        Ok(VirtQueue::new(&mut self.transport, index, false, false)?)
    }

    /// Starts the device; its queues are set up.
    pub fn start(&mut self) {
        self.transport.finish_init();
    }

    /// A 64-bit field of the configuration space, both halves from one state of it.
    pub fn config_u64(&self, offset: usize) -> Result<u64, Unusable> {
        let halves =
            || Ok([self.transport.read_config_space(offset)?, self.transport.read_config_space(offset + 4)?]);
        let [low, high]: [u32; 2] = self.transport.read_consistent(halves)?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// A 32-bit field of the configuration space.
    pub fn config(&self, offset: usize) -> Result<u32, Unusable> {
        Ok(self.transport.read_config_space(offset)?)
    }

    /// A 16-bit field of the configuration space.
    pub fn config_u16(&self, offset: usize) -> Result<u16, Unusable> {
        Ok(self.transport.read_config_space(offset)?)
    }

    /// Tells the device of buffers that were added to queue `index`, if it wants to know.
    pub fn kick<const SIZE: usize>(&mut self, index: u16, queue: &VirtQueue<Dma, SIZE>) {
        // The device switches notifications on and then looks for buffers; the buffers must be visible
        // before its switch is read.
        fence(Ordering::SeqCst);
        if queue.should_notify() {
            self.transport.notify(index);
        }
    }

    /// Acknowledges an interrupt, before the queues are drained. Two exits, except where none are needed.
    pub fn acknowledge(&mut self) -> Cause {
        if !self.pulsing
            && self.transport.ack_interrupt().contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT)
        {
            Cause::Configuration
        } else {
            Cause::Queues
        }
    }

    /// Whether only looking at the status tells that the device has given up.
    pub fn must_ask(&self) -> bool {
        self.pulsing
    }

    /// Whether the device has given up. One exit.
    pub fn has_failed(&self) -> bool {
        self.transport.get_status().contains(DeviceStatus::DEVICE_NEEDS_RESET)
    }

    /// Stops the device for good: afterwards it touches no memory.
    pub fn stop(&mut self) {
        self.transport.set_status(DeviceStatus::empty());
    }
}

/// Switches the queue's interrupts on and tells whether buffers came meanwhile.
pub fn unmask_queue<const SIZE: usize>(queue: &mut VirtQueue<Dma, SIZE>) -> bool {
    queue.set_dev_notify(true);
    // The device adds a used buffer and then looks at the switch; it must be visible before the ring is read.
    fence(Ordering::SeqCst);
    queue.can_pop()
}
