//! A virtio driver for tests, honest or hostile, and the machine around the device it drives.
//!
//! Guest RAM has a hole, and two regions that touch. The hole and all beyond RAM are host pages
//! that nobody may touch, so a stray access ends the test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::devices::bus::BusDevice;
use crate::devices::virtio::device::Completed;
use crate::devices::virtio::{GuestRam, SharedVirtioDevice, VirtioEvents, VirtioMmio};
use crate::memory::{HostPages, RamRange, allocate};

pub const ACKNOWLEDGE: u32 = 1;
pub const DRIVER: u32 = 2;
pub const DRIVER_OK: u32 = 4;
pub const FEATURES_OK: u32 = 8;
pub const NEEDS_RESET: u32 = 64;
pub const FAILED: u32 = 128;

pub const VERSION_1: u64 = 1 << 32;
pub const EVENT_IDX: u64 = 1 << 29;
pub const INDIRECT_DESC: u64 = 1 << 28;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

pub const REGION: u64 = 1 << 20;
/// RAM is 0..1 MiB, a hole, then 2..3 MiB and 3..4 MiB.
pub const REGIONS: [u64; 3] = [0, 2 * REGION, 3 * REGION];
pub const HOLE: u64 = REGION;
pub const RAM_END: u64 = 4 * REGION;
/// Free RAM for buffers in the first region, above the rings.
pub const BUFFERS: u64 = 0x8_0000;

/// How long requests may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One descriptor as the driver writes it; `flags` without NEXT.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    pub address: u64,
    pub len: u32,
    pub flags: u16,
}

/// A buffer the device reads.
pub fn out(address: u64, len: u32) -> Desc {
    Desc { address, len, flags: 0 }
}

/// A buffer the device writes.
pub fn into(address: u64, len: u32) -> Desc {
    Desc { address, len, flags: WRITE }
}

/// An entry of the used ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    pub head: u32,
    pub len: u32,
}

/// The driver's side of one queue.
#[derive(Clone, Copy, Default)]
pub struct Ring {
    pub base: u64,
    pub size: u16,
    pub next_desc: u16,
    pub avail: u16,
    pub seen: u16,
}

impl Ring {
    pub fn desc(&self) -> u64 {
        self.base
    }

    pub fn avail_ring(&self) -> u64 {
        self.base + 0x2000
    }

    pub fn used_ring(&self) -> u64 {
        self.base + 0x3000
    }

    /// Where the driver says how far the device may go without an interrupt.
    pub fn used_event(&self) -> u64 {
        self.avail_ring() + 4 + 2 * u64::from(self.size)
    }

    /// Where the device says how far the driver may go without a notification.
    pub fn avail_event(&self) -> u64 {
        self.used_ring() + 4 + 8 * u64::from(self.size)
    }
}

/// A device under test.
pub struct Rig {
    pub memory: GuestRam,
    pub transport: VirtioMmio,
    pub events: VirtioEvents,
    pub irq: EventFd,
    pub rings: Vec<Ring>,
}

impl Rig {
    pub fn new(device: SharedVirtioDevice) -> Self {
        let memory = guest_ram();
        let irq = EventFd::new(EFD_NONBLOCK).unwrap();
        let transport = VirtioMmio::new(device, memory.clone(), irq.try_clone().unwrap()).unwrap();
        let events = transport.events();
        Self { memory, transport, events, irq, rings: Vec::new() }
    }

    /// A device brought up with `features` beside VERSION_1, and `queues` queues of 16 entries.
    pub fn ready(device: SharedVirtioDevice, features: u64, queues: usize) -> Self {
        let mut rig = Self::new(device);
        rig.bring_up(features, queues, 16);
        rig
    }

    pub fn read(&mut self, register: u32) -> u32 {
        let mut data = [0xee; 4];
        self.transport.read(register.into(), &mut data);
        u32::from_le_bytes(data)
    }

    pub fn write(&mut self, register: u32, value: u32) {
        self.transport.write(register.into(), &value.to_le_bytes());
    }

    pub fn config<const N: usize>(&mut self, offset: u64) -> [u8; N] {
        let mut data = [0xee; N];
        self.transport.read(u64::from(VIRTIO_MMIO_CONFIG) + offset, &mut data);
        data
    }

    pub fn status(&mut self) -> u32 {
        self.read(VIRTIO_MMIO_STATUS)
    }

    pub fn offered(&mut self) -> u64 {
        self.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
        let low = self.read(VIRTIO_MMIO_DEVICE_FEATURES);
        self.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
        u64::from(low) | u64::from(self.read(VIRTIO_MMIO_DEVICE_FEATURES)) << 32
    }

    pub fn accept(&mut self, features: u64) {
        for half in 0..2 {
            self.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            self.write(VIRTIO_MMIO_DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
    }

    /// Up to FEATURES_OK; returns whether the device agreed.
    pub fn negotiate(&mut self, features: u64) -> bool {
        self.write(VIRTIO_MMIO_STATUS, 0);
        self.rings.clear();
        self.write(VIRTIO_MMIO_STATUS, ACKNOWLEDGE);
        self.write(VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER);
        self.accept(features);
        self.write(VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        self.status() & FEATURES_OK != 0
    }

    /// Clears the rings of queue `index` and tells the device where they are.
    pub fn set_up_queue(&mut self, index: u32, size: u16) {
        let ring = Ring { base: 0x1_0000 * u64::from(index + 1), size, ..Ring::default() };
        self.memory.write_slice(&[0; 0x5000], GuestAddress(ring.base)).unwrap();
        self.write(VIRTIO_MMIO_QUEUE_SEL, index);
        self.write(VIRTIO_MMIO_QUEUE_NUM, size.into());
        self.write_queue_addresses([ring.desc(), ring.avail_ring(), ring.used_ring()]);
        self.write(VIRTIO_MMIO_QUEUE_READY, 1);
        self.rings.push(ring);
    }

    /// Descriptor table, available ring and used ring of the selected queue.
    pub fn write_queue_addresses(&mut self, addresses: [u64; 3]) {
        let registers = [VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_USED_LOW];
        for (register, address) in registers.into_iter().zip(addresses) {
            self.write(register, address as u32);
            self.write(register + 4, (address >> 32) as u32);
        }
    }

    pub fn driver_ok(&mut self) {
        self.write(VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    pub fn bring_up(&mut self, features: u64, queues: usize, size: u16) {
        assert!(self.negotiate(VERSION_1 | features));
        for index in 0..queues {
            self.set_up_queue(index as u32, size);
        }
        self.driver_ok();
        assert_eq!(self.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Writes descriptor `slot` of queue `queue`, with the flags and the link as given.
    pub fn write_desc(&self, queue: usize, slot: u16, desc: Desc, next: u16) {
        let bytes = descriptor_bytes(desc, next);
        let address = self.rings[queue].desc() + 16 * u64::from(slot);
        self.memory.write_slice(&bytes, GuestAddress(address)).unwrap();
    }

    /// Makes the chain at `head` available, without a notification.
    pub fn publish(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let slot = ring.avail_ring() + 4 + 2 * u64::from(ring.avail % ring.size);
        ring.avail = ring.avail.wrapping_add(1);
        let (idx, value) = (GuestAddress(ring.avail_ring() + 2), ring.avail);
        self.memory.write_obj(head, GuestAddress(slot)).unwrap();
        self.memory.write_obj(value, idx).unwrap();
    }

    /// Links `chain` from consecutive descriptors and makes it available. Returns its head.
    pub fn submit(&mut self, queue: usize, chain: &[Desc]) -> u16 {
        let Ring { size, next_desc: head, .. } = self.rings[queue];
        for (i, desc) in (0..).zip(chain) {
            let slot = (head + i) % size;
            let last = usize::from(i) + 1 == chain.len();
            let flags = desc.flags | if last { 0 } else { NEXT };
            self.write_desc(queue, slot, Desc { flags, ..*desc }, (slot + 1) % size);
        }
        self.rings[queue].next_desc = (head + chain.len() as u16) % size;
        self.publish(queue, head);
        head
    }

    /// Notifies the device through the register, and lets it work until it is idle.
    pub fn kick(&mut self, queue: u32) {
        self.write(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
        self.run();
    }

    /// Serves all queues whose eventfd was rung, as an event loop would, until nothing is under way. Returns how
    /// often.
    pub fn run(&mut self) -> usize {
        let mut served = 0;
        let start = Instant::now();
        loop {
            while let Some(index) = self.transport.queue_events().iter().position(|kick| kick.read().is_ok())
            {
                self.events.serve(index);
                served += 1;
                assert!(served < 100_000, "the device never becomes idle");
            }
            let Completed { progress, busy, .. } = self.events.complete();
            if !progress && !busy {
                return served;
            }
            assert!(start.elapsed() < PATIENCE, "requests never end");
            if !progress {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }

    /// The used entries that are new since the last call.
    pub fn used(&mut self, queue: usize) -> Vec<Used> {
        let ring = self.rings[queue];
        let idx: u16 = self.memory.read_obj(GuestAddress(ring.used_ring() + 2)).unwrap();
        let mut entries = Vec::new();
        let mut seen = ring.seen;
        while seen != idx {
            let entry = ring.used_ring() + 4 + 8 * u64::from(seen % ring.size);
            let head = self.memory.read_obj(GuestAddress(entry)).unwrap();
            let len = self.memory.read_obj(GuestAddress(entry + 4)).unwrap();
            entries.push(Used { head, len });
            seen = seen.wrapping_add(1);
        }
        self.rings[queue].seen = seen;
        entries
    }

    /// Submits `chain`, notifies, and returns the used length of its only completion.
    pub fn request(&mut self, queue: usize, chain: &[Desc]) -> u32 {
        let head = self.submit(queue, chain);
        self.kick(queue as u32);
        let used = self.used(queue);
        assert_eq!(used.len(), 1, "{used:?}, fault {:?}", self.transport.fault());
        assert_eq!(used[0].head, u32::from(head));
        used[0].len
    }

    /// Interrupts since the last call.
    pub fn interrupts(&self) -> u64 {
        self.irq.read().unwrap_or(0)
    }

    pub fn put(&self, address: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    pub fn get(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }
}

pub fn descriptor_bytes(desc: Desc, next: u16) -> Vec<u8> {
    let mut bytes = desc.address.to_le_bytes().to_vec();
    bytes.extend(desc.len.to_le_bytes());
    bytes.extend(desc.flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}

/// RAM as described at the top. Host memory in the hole and beyond is reserved and inaccessible.
fn guest_ram() -> GuestRam {
    let ranges = REGIONS.map(|base| RamRange { base, size: REGION, node: 0 });
    Arc::new(allocate(&ranges, HostPages::Small, false).unwrap())
}
