//! COM1: a 16550 whose output goes to the standard output of the monitor.
//!
//! The guest uses it before its console is up and for panics; input goes to the console.

use std::io;

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

use super::bus::BusDevice;
use super::output::Output;

/// Ports of the device.
pub const SERIAL_PORTS: u64 = 8;
/// Interrupt of COM1 on every PC.
pub const SERIAL_GSI: u32 = 4;

struct Interrupt(EventFd);

impl Trigger for Interrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// The device on the port bus.
pub struct SerialPort {
    uart: Serial<Interrupt, NoEvents, Output>,
}

impl SerialPort {
    /// A port that writes to `output` and raises `interrupt`.
    pub fn new(interrupt: EventFd, output: Output) -> Self {
        Self { uart: Serial::new(Interrupt(interrupt), output) }
    }
}

impl BusDevice for SerialPort {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        for byte in data {
            *byte = self.uart.read(offset as u8);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for byte in data {
            // The only errors are a lost interrupt and lost output, and the guest can mend neither.
            let _ = self.uart.write(offset as u8, *byte);
        }
    }
}
