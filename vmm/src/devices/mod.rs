//! The devices a guest sees, and the buses that route its accesses to them.
//!
//! Owns: where each virtio-mmio device appears ([`VirtioSlot`]).
//! Stays outside: making and wiring devices (`builder`).

pub mod bus;
pub mod debug_exit;
pub mod i8042;
pub mod output;
pub mod power;
pub mod serial;
pub mod transcript;
pub mod virtio;

use shared::layout::{VIRTIO_FIRST_GSI, VIRTIO_MAX_DEVICES, VIRTIO_MMIO_BASE, VIRTIO_MMIO_SIZE};

/// Where one virtio-mmio device appears in the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioSlot {
    /// Guest-physical address of its register window, `VIRTIO_MMIO_SIZE` bytes long.
    pub base: u64,
    /// Its interrupt: an I/O APIC input pin, edge-triggered.
    pub gsi: u32,
}

/// The places of the first `count` virtio-mmio devices; at most `VIRTIO_MAX_DEVICES`.
pub fn virtio_slots(count: u32) -> Vec<VirtioSlot> {
    (0..count.min(VIRTIO_MAX_DEVICES))
        .map(|index| VirtioSlot {
            base: VIRTIO_MMIO_BASE + u64::from(index) * VIRTIO_MMIO_SIZE,
            gsi: VIRTIO_FIRST_GSI + index,
        })
        .collect()
}

#[cfg(test)]
mod tests;
