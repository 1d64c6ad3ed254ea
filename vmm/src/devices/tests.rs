//! Every access a guest can make to ports and register windows: any address, any width, any value. Nothing may panic,
//! and what no device claims reads as ones.
//!
//! The devices sit on buses as in a real machine. What virtqueues do is tested with the devices, in `virtio`.

use std::fs::File;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use shared::layout::{COM1_PORT, DEBUG_EXIT_PORT, VIRTIO_MMIO_BASE, VIRTIO_MMIO_SIZE};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::bus::Bus;
use super::debug_exit::{DEBUG_EXIT_PORTS, DebugExit};
use super::i8042::{I8042, I8042_BASE, I8042_PORTS};
use super::output::Output;
use super::serial::{SERIAL_PORTS, SerialPort};
use super::virtio::VirtioMmio;
use super::virtio::console::Console;
use crate::exit::{End, EndSignal};
use crate::memory::{HostPages, RamRange, allocate};

/// Widths of single accesses, and lengths of string instructions as KVM hands them over.
const PORT_LENGTHS: [usize; 7] = [0, 1, 2, 4, 3, 64, 1024];
const MMIO_LENGTHS: [usize; 5] = [1, 2, 4, 8, 0];

fn nowhere() -> File {
    File::options().write(true).open("/dev/null").unwrap()
}

/// The ports of a machine.
fn ports() -> (Bus, Arc<EndSignal>) {
    let end = Arc::new(EndSignal::new().unwrap());
    let console = Console::new(nowhere());
    let output = Output::new(nowhere(), Arc::clone(&end), console.written(), None);
    let serial = SerialPort::new(EventFd::new(EFD_NONBLOCK).unwrap(), output);
    let mut bus = Bus::new();
    bus.insert(COM1_PORT.into(), SERIAL_PORTS, Arc::new(Mutex::new(serial))).unwrap();
    let exit = DebugExit::new(Arc::clone(&end));
    bus.insert(DEBUG_EXIT_PORT.into(), DEBUG_EXIT_PORTS, Arc::new(Mutex::new(exit))).unwrap();
    bus.insert(I8042_BASE, I8042_PORTS, Arc::new(Mutex::new(I8042::new(Arc::clone(&end))))).unwrap();
    (bus, end)
}

/// The register windows of a machine with two consoles.
fn windows() -> Bus {
    let ranges = [RamRange { base: 0, size: 2 << 20, node: 0 }];
    let memory = Arc::new(allocate(&ranges, HostPages::Small, false).unwrap());
    let mut bus = Bus::new();
    for slot in 0..2 {
        let device = Arc::new(Mutex::new(Console::new(nowhere())));
        let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
        let transport = VirtioMmio::new(device, Arc::clone(&memory), interrupt).unwrap();
        let base = VIRTIO_MMIO_BASE + slot * VIRTIO_MMIO_SIZE;
        bus.insert(base, VIRTIO_MMIO_SIZE, Arc::new(Mutex::new(transport))).unwrap();
    }
    bus
}

/// Reads and writes `length` bytes at `address`.
fn touch(bus: &Bus, address: u64, length: usize, value: u8) {
    let mut data = vec![0x5a; length];
    if !bus.read(address, &mut data) {
        assert_eq!(data, vec![0xff; length], "{address:#x}");
    }
    bus.write(address, &vec![value; length]);
}

#[test]
fn every_port_takes_every_length() {
    let (bus, end) = ports();
    for port in 0..=u64::from(u16::MAX) {
        // 0xfe resets the machine at the one port, and ends it with a status at the other.
        for value in [0, 0xff, 0xfe] {
            for length in PORT_LENGTHS {
                touch(&bus, port, length, value);
            }
        }
    }
    // The keyboard controller comes first.
    assert_eq!(end.end(), Some(&End::Reset));
}

#[test]
fn ports_that_are_not_meant_to_end_the_machine_do_not() {
    let ends_it = |port: u64| {
        let last = u64::from(DEBUG_EXIT_PORT) + DEBUG_EXIT_PORTS;
        (u64::from(DEBUG_EXIT_PORT)..last).contains(&port) || port == I8042_BASE + 4
    };
    let (bus, end) = ports();
    for port in (0..=u64::from(u16::MAX)).filter(|port| !ends_it(*port)) {
        for value in 0..=255 {
            bus.write(port, &[value]);
        }
    }
    assert_eq!(end.end(), None);
    bus.write(DEBUG_EXIT_PORT.into(), &[]);
    assert_eq!(end.end(), Some(&End::Guest(0)), "a write of no bytes is one of 0");
}

#[test]
fn every_offset_of_a_window_takes_every_width() {
    let bus = windows();
    let span = VIRTIO_MMIO_BASE - 16..VIRTIO_MMIO_BASE + 2 * VIRTIO_MMIO_SIZE + 16;
    for value in [0, 1, 0xff] {
        for address in span.clone().chain(0..16).chain(u64::MAX - 16..=u64::MAX) {
            for length in MMIO_LENGTHS {
                touch(&bus, address, length, value);
            }
        }
    }
    let mut magic = [0; 4];
    assert!(bus.read(VIRTIO_MMIO_BASE, &mut magic));
    assert_eq!(&magic, b"virt");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_accesses_leaves_the_devices_whole(
        accesses in prop::collection::vec((0u64..0x2100, 0usize..5, any::<u64>(), any::<bool>()), 1..300)
    ) {
        let bus = windows();
        for (offset, length, value, write) in accesses {
            // Half of the values are small enough to be status bits, indices and sizes.
            let value = if value & 1 == 0 { value >> 1 } else { value >> 50 };
            let mut data = value.to_le_bytes();
            let data = &mut data[..MMIO_LENGTHS[length]];
            if write {
                bus.write(VIRTIO_MMIO_BASE + offset, data);
            } else {
                bus.read(VIRTIO_MMIO_BASE + offset, data);
            }
        }
        for slot in 0..2 {
            let base = VIRTIO_MMIO_BASE + slot * VIRTIO_MMIO_SIZE;
            // A reset brings a device back, whatever came before.
            bus.write(base + 0x70, &0u32.to_le_bytes());
            bus.write(base + 0x70, &3u32.to_le_bytes());
            let mut status = [0; 4];
            bus.read(base + 0x70, &mut status);
            prop_assert_eq!(u32::from_le_bytes(status), 3);
        }
    }
}
