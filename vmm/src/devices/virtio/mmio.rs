//! The virtio-mmio transport, version 2 (modern only).
//!
//! Owns: the register file, the status machine and feature negotiation of one device.
//! Stays outside: rings (`queue`), interrupts (`interrupt`), and all that is device-specific.
//!
//! States, by the bits of Status: 0 → ACKNOWLEDGE → DRIVER → FEATURES_OK (features frozen) →
//! DRIVER_OK (queues built, device active). Bits can be set together, never out of order, and
//! only a write of 0 clears them. FEATURES_OK does not stick when the driver accepted a bit that
//! was not offered or left out VIRTIO_F_VERSION_1. A queue that cannot work sets
//! DEVICE_NEEDS_RESET at DRIVER_OK.
//!
//! Invariants: every offset and width is answered. Registers take aligned 32-bit accesses; all
//! else reads as zero and is ignored when written.
//!
//! Source: VIRTIO 1.2, sections 4.2.2 (registers) and 3.1.1 (initialisation).

use std::io;
use std::sync::Arc;

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::device::{Activation, SharedVirtioDevice};
use super::interrupt::Interrupt;
use super::queue::{DeviceQueue, QueueContext, QueueRegisters, Suppression};
use super::{DeviceFault, GuestRam, VirtioEvents, lock};
use crate::devices::bus::BusDevice;

/// Offset of QueueNotify, for ioeventfds: a 32-bit write whose value is the queue index.
pub const NOTIFY_OFFSET: u64 = VIRTIO_MMIO_QUEUE_NOTIFY as u64;

/// "virt" in little-endian ASCII.
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// "BLST"; the specification leaves the value to the vendor.
const VENDOR: u32 = 0x5453_4c42;
/// Length and base of a shared memory region that does not exist.
const NO_REGION: u32 = u32::MAX;
const CONFIG_SPACE: u64 = VIRTIO_MMIO_CONFIG as u64;

const GENERIC_FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// Each status bit a driver may set, with the bit that must be there before it.
const STATUS_ORDER: [(u32, u32); 5] = [
    (VIRTIO_CONFIG_S_ACKNOWLEDGE, 0),
    (VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_ACKNOWLEDGE),
    (VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER),
    (VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK),
    (VIRTIO_CONFIG_S_FAILED, 0),
];

/// One virtio device's register window.
pub struct VirtioMmio {
    device: SharedVirtioDevice,
    context: QueueContext,
    device_id: u32,
    offered: u64,
    max_sizes: Vec<u16>,
    status: u32,
    device_features_sel: u32,
    driver_features_sel: u32,
    accepted: u64,
    queue_sel: u32,
    queues: Vec<QueueRegisters>,
}

impl VirtioMmio {
    /// Puts `device` behind a register window.
    ///
    /// `irq` is the eventfd that the caller registers as the irqfd of the device's edge-triggered
    /// line. Fails when the host has no file descriptor left for the queues' eventfds.
    pub fn new(device: SharedVirtioDevice, memory: GuestRam, irq: EventFd) -> io::Result<Self> {
        let (device_id, features, max_sizes) = {
            let device = lock(&device);
            (device.device_id(), device.features(), device.queue_sizes().to_vec())
        };
        let kicks = max_sizes.iter().map(|_| EventFd::new(EFD_NONBLOCK)).collect::<io::Result<Arc<[_]>>>()?;
        let mut transport = Self {
            device,
            context: QueueContext { memory, interrupt: Arc::new(Interrupt::new(irq)), kicks },
            device_id,
            offered: features | GENERIC_FEATURES,
            max_sizes,
            status: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            accepted: 0,
            queue_sel: 0,
            queues: Vec::new(),
        };
        transport.clear_registers();
        Ok(transport)
    }

    /// One eventfd per queue, in order: a notification of queue `i` must ring number `i`.
    pub fn queue_events(&self) -> &[EventFd] {
        &self.context.kicks
    }

    /// The part that serves the queues, for an event loop. To be registered once.
    pub fn events(&self) -> VirtioEvents {
        VirtioEvents::new(self.device.clone(), self.context.clone())
    }

    /// Why the device last set DEVICE_NEEDS_RESET, if it ever did.
    pub fn fault(&self) -> Option<String> {
        self.context.interrupt.fault()
    }

    fn clear_registers(&mut self) {
        self.status = 0;
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.accepted = 0;
        self.queue_sel = 0;
        self.queues = self
            .max_sizes
            .iter()
            .map(|&size| QueueRegisters { size: size.into(), ..QueueRegisters::default() })
            .collect();
    }

    fn has(&self, bit: u32) -> bool {
        self.status & bit != 0
    }

    fn selected(&self) -> Option<(usize, &QueueRegisters)> {
        let index = usize::try_from(self.queue_sel).ok()?;
        Some((index, self.queues.get(index)?))
    }

    fn read_register(&self, register: u32) -> u32 {
        match register {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.device_id,
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.offered, self.device_features_sel),
            VIRTIO_MMIO_QUEUE_NUM_MAX => {
                self.selected().and_then(|(index, _)| self.max_sizes.get(index)).map_or(0, |&max| max.into())
            }
            VIRTIO_MMIO_QUEUE_READY => self.selected().map_or(0, |(_, queue)| queue.ready.into()),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.context.interrupt.status(),
            VIRTIO_MMIO_STATUS if self.context.interrupt.needs_reset() => {
                self.status | VIRTIO_CONFIG_S_NEEDS_RESET
            }
            VIRTIO_MMIO_STATUS => self.status,
            VIRTIO_MMIO_SHM_LEN_LOW
            | VIRTIO_MMIO_SHM_LEN_HIGH
            | VIRTIO_MMIO_SHM_BASE_LOW
            | VIRTIO_MMIO_SHM_BASE_HIGH => NO_REGION,
            VIRTIO_MMIO_CONFIG_GENERATION => self.context.interrupt.generation(),
            // Write-only registers and the holes between them.
            _ => 0,
        }
    }

    fn write_register(&mut self, register: u32, value: u32) {
        match register {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_sel = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            VIRTIO_MMIO_DRIVER_FEATURES => self.accept_features(value),
            VIRTIO_MMIO_QUEUE_SEL => self.queue_sel = value,
            VIRTIO_MMIO_QUEUE_NOTIFY => self.notify(value),
            VIRTIO_MMIO_INTERRUPT_ACK => self.context.interrupt.acknowledge(value),
            VIRTIO_MMIO_STATUS if value == 0 => self.reset(),
            VIRTIO_MMIO_STATUS => self.advance(value),
            VIRTIO_MMIO_QUEUE_READY => self.set_queue_ready(value & 1 != 0),
            _ => self.configure_queue(register, value),
        }
    }

    fn accept_features(&mut self, value: u32) {
        if self.has(VIRTIO_CONFIG_S_FEATURES_OK) {
            return;
        }
        let value = u64::from(value);
        match self.driver_features_sel {
            0 => self.accepted = self.accepted & !0xffff_ffff | value,
            1 => self.accepted = self.accepted & 0xffff_ffff | value << 32,
            _ => {}
        }
    }

    fn notify(&self, queue: u32) {
        let kick = usize::try_from(queue).ok().and_then(|index| self.context.kicks.get(index));
        if let Some(kick) = kick {
            // A full counter means that the queue's event is pending already.
            let _ = kick.write(1);
        }
    }

    fn configure_queue(&mut self, register: u32, value: u32) {
        let Some(queue) = usize::try_from(self.queue_sel).ok().and_then(|index| self.queues.get_mut(index))
        else {
            return;
        };
        // What an enabled queue was built from must not change under it.
        if queue.ready {
            return;
        }
        match register {
            VIRTIO_MMIO_QUEUE_NUM => queue.size = value,
            VIRTIO_MMIO_QUEUE_DESC_LOW => set_low(&mut queue.desc_table, value),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => set_high(&mut queue.desc_table, value),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => set_low(&mut queue.avail_ring, value),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => set_high(&mut queue.avail_ring, value),
            VIRTIO_MMIO_QUEUE_USED_LOW => set_low(&mut queue.used_ring, value),
            VIRTIO_MMIO_QUEUE_USED_HIGH => set_high(&mut queue.used_ring, value),
            _ => {}
        }
    }

    /// QueueReady. A live queue can be stopped but not started again before a reset, because
    /// VIRTIO_F_RING_RESET is not offered.
    fn set_queue_ready(&mut self, ready: bool) {
        let live = self.has(VIRTIO_CONFIG_S_DRIVER_OK);
        let Some((index, _)) = self.selected() else { return };
        if live && ready {
            return;
        }
        if live {
            lock(&self.device).stop_queue(index);
        }
        if let Some(queue) = self.queues.get_mut(index) {
            queue.ready = ready;
        }
    }

    /// Adds the status bits of `value` that are new and in order.
    fn advance(&mut self, value: u32) {
        for (bit, needed) in STATUS_ORDER {
            if value & bit == 0 || self.has(bit) || self.status & needed != needed {
                continue;
            }
            if bit == VIRTIO_CONFIG_S_FEATURES_OK && !self.features_acceptable() {
                continue;
            }
            self.status |= bit;
            if bit == VIRTIO_CONFIG_S_DRIVER_OK {
                self.activate();
            }
        }
    }

    fn features_acceptable(&self) -> bool {
        self.accepted & !self.offered == 0 && self.accepted & 1 << VIRTIO_F_VERSION_1 != 0
    }

    fn activate(&mut self) {
        match self.build_queues() {
            Ok(queues) => lock(&self.device).activate(Activation { queues, features: self.accepted }),
            Err(fault) => self.context.interrupt.fail(&fault),
        }
    }

    fn build_queues(&self) -> Result<Vec<Option<DeviceQueue>>, DeviceFault> {
        let suppression = match self.accepted & 1 << VIRTIO_RING_F_EVENT_IDX {
            0 => Suppression::Flags,
            _ => Suppression::EventIdx,
        };
        let build = |(index, (registers, &max)): (usize, (&QueueRegisters, &u16))| {
            registers
                .ready
                .then(|| DeviceQueue::new(index, max, *registers, suppression, &self.context))
                .transpose()
        };
        self.queues.iter().zip(&self.max_sizes).enumerate().map(build).collect()
    }

    /// Stops the device and forgets everything the driver said. The device's lock makes this wait
    /// for a request that is being served.
    fn reset(&mut self) {
        let mut device = lock(&self.device);
        device.reset();
        self.context.interrupt.reset();
        drop(device);
        self.clear_registers();
    }
}

impl BusDevice for VirtioMmio {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(offset) = offset.checked_sub(CONFIG_SPACE) {
            let device = lock(&self.device);
            let tail = usize::try_from(offset).ok().and_then(|start| device.config().get(start..));
            for (to, from) in data.iter_mut().zip(tail.unwrap_or_default()) {
                *to = *from;
            }
        } else if let (Ok(register), Ok(bytes)) = (u32::try_from(offset), <&mut [u8; 4]>::try_from(data)) {
            *bytes = self.read_register(register).to_le_bytes();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let Some(offset) = offset.checked_sub(CONFIG_SPACE) {
            lock(&self.device).write_config(offset, data);
        } else if let (Ok(register), Ok(bytes)) = (u32::try_from(offset), <[u8; 4]>::try_from(data)) {
            self.write_register(register, u32::from_le_bytes(bytes));
        }
    }
}

/// The 32 feature bits that selector `select` shows.
fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !0xffff_ffff | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & 0xffff_ffff | u64::from(value) << 32;
}
