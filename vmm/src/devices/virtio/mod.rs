//! Virtio devices over the modern (version 2) virtio-mmio transport.
//!
//! Owns: the transport, the virtqueue plumbing that all devices share, the disk and the console.
//! Stays outside: where in guest memory a device sits, which interrupt line it has, and which
//! event loop runs it; the machine builder decides those.
//!
//! How a builder uses it: it wraps the device in a [`VirtioMmio`] together with the eventfd that KVM takes as the
//! interrupt, gives each of [`VirtioMmio::queue_events`] to KVM as the ioeventfd of its queue at [`NOTIFY_OFFSET`], has
//! [`VirtioMmio::events`] served (the console's by the event loop, a disk's by a thread of its own), and puts the
//! transport on the MMIO bus.
//!
//! Without the ioeventfd a guest still works: its QueueNotify write then leaves KVM, reaches
//! [`VirtioMmio`], and rings the same eventfd.
//!
//! Threads and locks: vCPU threads take the transport's lock, then the device's lock for a reset,
//! `DRIVER_OK` and configuration space. The event loop and the disks' threads take the device's lock only,
//! and the console's writer thread neither. Interrupt state is atomic, so raising and acknowledging an
//! interrupt does not wait for disk I/O.
//!
//! Invariants: nothing a guest writes to a register, a ring or a descriptor can panic the host or
//! make it touch memory outside guest RAM. What a device cannot make sense of stops that device
//! with `DEVICE_NEEDS_RESET`; [`VirtioMmio::fault`] tells why.
//!
//! Source: Virtual I/O Device (VIRTIO) Version 1.2, sections 2, 3, 4.2, 5.2 and 5.3.

pub mod blk;
pub mod chain;
pub mod console;
pub mod device;
pub mod events;
pub mod fault;
pub mod interrupt;
mod lookahead;
pub mod mmio;
pub mod queue;
pub mod returns;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use device::{SharedVirtioDevice, VirtioDevice};
pub use events::VirtioEvents;
pub use fault::DeviceFault;
pub use mmio::{NOTIFY_OFFSET, VirtioMmio};

/// Guest RAM as devices hold it: shared, and alive as long as any request points into it.
pub type GuestRam = Arc<crate::memory::GuestRam>;

/// Locks `mutex`; a thread that panicked while holding it does not stop the others.
///
/// Every device leaves its state consistent between two guest-visible steps, so a poisoned lock
/// is still usable: the worst that can be lost is one request.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
