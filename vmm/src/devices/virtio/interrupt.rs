//! The interrupt side of a virtio-mmio device: status bits, the line, and the fault that stops it.
//!
//! Owns: InterruptStatus, ConfigGeneration, `DEVICE_NEEDS_RESET`, and the eventfd that KVM turns
//! into an edge on the device's interrupt line (irqfd).
//! Stays outside: whether a queue wants an interrupt at all (`queue`).
//! Invariants: a status bit is set before the line is pulsed, so a driver that acknowledges first
//! and drains then misses nothing on an edge-triggered line. Everything is atomic, because vCPU
//! threads acknowledge while the event loop raises.
//!
//! Source: VIRTIO 1.2, sections 4.2.2 and 2.5.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use vmm_sys_util::eventfd::EventFd;

use super::{DeviceFault, lock};

/// The interrupt state that one device and its transport share.
pub struct Interrupt {
    line: EventFd,
    status: AtomicU32,
    generation: AtomicU32,
    needs_reset: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Interrupt {
    /// An idle interrupt on `line`, which the owner registers with KVM as an irqfd.
    pub fn new(line: EventFd) -> Self {
        Self {
            line,
            status: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            needs_reset: AtomicBool::new(false),
            fault: Mutex::new(None),
        }
    }

    /// Tells the driver that buffers were used.
    pub fn buffers_used(&self) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    /// Tells the driver that the configuration space, or the device's status, has changed.
    pub fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    /// Stops the device until the driver resets it, and tells the driver so.
    pub fn fail(&self, fault: &DeviceFault) {
        *lock(&self.fault) = Some(fault.to_string());
        self.needs_reset.store(true, Ordering::SeqCst);
        self.config_changed();
    }

    /// Whether the device is stopped by a fault.
    pub fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// The most recent fault. It outlives a reset, so that the monitor can still report it.
    pub fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// InterruptStatus: bit 0 used buffers, bit 1 configuration change.
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// ConfigGeneration: changes whenever the configuration space does.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    /// InterruptACK: clears the bits of `handled`.
    pub fn acknowledge(&self, handled: u32) {
        self.status.fetch_and(!handled, Ordering::SeqCst);
    }

    /// Device reset: nothing pending, no fault in force. The generation goes on counting.
    pub fn reset(&self) {
        self.needs_reset.store(false, Ordering::SeqCst);
        self.status.store(0, Ordering::SeqCst);
    }

    fn raise(&self, bit: u32) {
        self.status.fetch_or(bit, Ordering::SeqCst);
        // The only possible failure is a full counter, and then an interrupt is pending already.
        let _ = self.line.write(1);
    }
}
