//! The keyboard controller, as far as anybody needs it here: its reset command ends the machine.

use std::convert::Infallible;
use std::sync::Arc;

use vm_superio::{I8042Device, Trigger};

use super::bus::BusDevice;
use crate::exit::{End, EndSignal};

/// First port of the controller.
pub const I8042_BASE: u64 = 0x60;
/// Ports of the controller: data at 0x60, command at 0x64.
pub const I8042_PORTS: u64 = 5;

struct ResetTrigger(Arc<EndSignal>);

impl Trigger for ResetTrigger {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.report(End::Reset);
        Ok(())
    }
}

/// The device on the port bus.
pub struct I8042 {
    controller: I8042Device<ResetTrigger>,
}

impl I8042 {
    /// A controller whose reset command reports to `end`.
    pub fn new(end: Arc<EndSignal>) -> Self {
        Self { controller: I8042Device::new(ResetTrigger(end)) }
    }
}

impl BusDevice for I8042 {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(self.controller.read(offset as u8));
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let Some(value) = data.first() {
            let Ok(()) = self.controller.write(offset as u8, *value);
        }
    }
}
