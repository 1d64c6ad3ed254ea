//! A virtio device with a driver that can do anything, and RAM around which nobody may reach.
//!
//! RAM has a hole, and two regions that touch; the hole and all beyond RAM are inaccessible host pages, so a stray
//! access ends the process. One rig serves many runs: each begins with a reset of the device and of the RAM.

use std::sync::Arc;

use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};
use vmm::devices::bus::BusDevice;
use vmm::devices::virtio::{GuestRam, SharedVirtioDevice, VirtioEvents, VirtioMmio};
use vmm::memory::{HostPages, RamRange, allocate};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Bytes of each region of RAM.
pub const REGION: u64 = 64 << 10;
/// Where the regions begin.
pub const REGIONS: [u64; 3] = [0, 2 * REGION, 3 * REGION];
/// Entries of the rings that [`Rig::bring_up`] makes.
pub const RING: u16 = 16;

/// ACKNOWLEDGE, DRIVER and FEATURES_OK.
const NEGOTIATED: u32 = 1 | 2 | 8;
const DRIVER_OK: u32 = 4;
const VERSION_1: u64 = 1 << 32;
/// Most passes over the queues in one run; a device that needs more never becomes idle.
const PASSES: usize = 10_000;

/// A device under attack.
pub struct Rig {
    /// The guest's RAM.
    pub memory: GuestRam,
    transport: VirtioMmio,
    events: VirtioEvents,
    irq: EventFd,
}

impl Rig {
    /// A machine around `device`.
    pub fn new(device: SharedVirtioDevice) -> Self {
        let memory = ram();
        let irq = EventFd::new(EFD_NONBLOCK).expect("an eventfd");
        let line = irq.try_clone().expect("a descriptor");
        let transport = VirtioMmio::new(device, memory.clone(), line).expect("a transport");
        let events = transport.events();
        Self { memory, transport, events, irq }
    }

    /// Back to the start: the device reset, all RAM zero.
    pub fn reset(&mut self) {
        self.register(VIRTIO_MMIO_STATUS, 0);
        self.run();
        let _ = self.irq.read();
        for base in REGIONS {
            self.put(base, &[0; REGION as usize]);
        }
    }

    /// Writes `value` to `register`.
    pub fn register(&mut self, register: u32, value: u32) {
        self.transport.write(register.into(), &value.to_le_bytes());
    }

    /// An access of any width at any offset: a write, and a read of the same place.
    pub fn access(&mut self, offset: u64, value: &[u8]) {
        self.transport.write(offset, value);
        let mut read = [0; 16];
        self.transport.read(offset, &mut read[..value.len().min(16)]);
    }

    /// Brings up `queues` queues of [`RING`] entries; the device accepts those of `features` that it offers.
    pub fn bring_up(&mut self, features: u64, queues: u32) {
        self.register(VIRTIO_MMIO_STATUS, 1 | 2);
        for half in 0..2u32 {
            self.register(VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
            self.register(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            let offered = self.read(VIRTIO_MMIO_DEVICE_FEATURES);
            let wanted = ((features | VERSION_1) >> (32 * half)) as u32;
            self.register(VIRTIO_MMIO_DRIVER_FEATURES, offered & wanted);
        }
        self.register(VIRTIO_MMIO_STATUS, NEGOTIATED);
        for queue in 0..queues {
            self.register(VIRTIO_MMIO_QUEUE_SEL, queue);
            self.register(VIRTIO_MMIO_QUEUE_NUM, RING.into());
            let [desc, avail, used] = ring(queue);
            let registers =
                [VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_USED_LOW];
            for (register, address) in registers.into_iter().zip([desc, avail, used]) {
                self.register(register, address as u32);
            }
            self.register(VIRTIO_MMIO_QUEUE_READY, 1);
        }
        self.register(VIRTIO_MMIO_STATUS, NEGOTIATED | DRIVER_OK);
        assert_eq!(self.read(VIRTIO_MMIO_STATUS), NEGOTIATED | DRIVER_OK, "the device does not come up");
    }

    fn read(&mut self, register: u32) -> u32 {
        let mut data = [0; 4];
        self.transport.read(register.into(), &mut data);
        u32::from_le_bytes(data)
    }

    /// Rings for queue `queue`, and serves whatever was rung for until the device is idle.
    pub fn kick(&mut self, queue: u32) {
        self.register(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
        self.run();
    }

    /// Serves whatever was rung for, and takes in what the host has finished, until the device is idle.
    pub fn run(&mut self) {
        let mut passes = 0;
        loop {
            let rung = self.transport.queue_events().iter().position(|kick| kick.read().is_ok());
            if let Some(index) = rung {
                self.events.serve(index);
            }
            let completed = self.events.complete();
            match (rung, completed.progress, completed.busy) {
                (None, false, false) => return,
                // The host is at work.
                (None, false, true) => std::thread::yield_now(),
                _ => passes += 1,
            }
            assert!(passes < PASSES, "the device never becomes idle");
        }
    }

    /// Writes to RAM; what is outside is left out.
    pub fn put(&self, address: u64, bytes: &[u8]) {
        let _ = self.memory.write(bytes, GuestAddress(address));
    }
}

/// Descriptor table, available ring and used ring of queue `queue`.
pub fn ring(queue: u32) -> [u64; 3] {
    let base = 0x1000 * u64::from(queue);
    [base, base + 0x400, base + 0x800]
}

fn ram() -> GuestRam {
    let ranges = REGIONS.map(|base| RamRange { base, size: REGION, node: 0 });
    Arc::new(allocate(&ranges, HostPages::Small, false).expect("RAM"))
}
