//! The `isa-debug-exit` port: the guest ends the machine and says with which status.
//!
//! Source: QEMU's device of that name; unlike there, the value is not shifted.

use std::sync::Arc;

use super::bus::BusDevice;
use crate::exit::{End, EndSignal};

/// Ports the device takes.
pub const DEBUG_EXIT_PORTS: u64 = 4;

/// The device. A write ends the machine.
pub struct DebugExit {
    end: Arc<EndSignal>,
}

impl DebugExit {
    /// A device that reports to `end`.
    pub fn new(end: Arc<EndSignal>) -> Self {
        Self { end }
    }
}

impl BusDevice for DebugExit {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, _offset: u64, data: &[u8]) {
        let mut value = [0; 4];
        for (to, from) in value.iter_mut().zip(data) {
            *to = *from;
        }
        self.end.report(End::Guest(u32::from_le_bytes(value)));
    }
}
