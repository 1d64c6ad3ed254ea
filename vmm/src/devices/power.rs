//! The sleep registers of hardware-reduced ACPI: switching off ends the machine.
//!
//! Source: ACPI specification 6.4, section 4.8.3.7.

use std::sync::Arc;

use shared::layout::ACPI_SLEEP_OFF;

use super::bus::BusDevice;
use crate::exit::{End, EndSignal};

/// Ports: sleep control and sleep status.
pub const POWER_PORTS: u64 = 2;

/// SLP_EN of the sleep control register, and where SLP_TYP begins.
const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u32 = 2;
const SLEEP_TYPE: u8 = 7;

/// The device on the port bus.
pub struct Power(Arc<EndSignal>);

impl Power {
    /// Registers that report to `end`.
    pub fn new(end: Arc<EndSignal>) -> Self {
        Self(end)
    }
}

impl BusDevice for Power {
    /// The machine has never slept.
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let off =
            |value: u8| value & SLEEP_ENABLE != 0 && value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE == ACPI_SLEEP_OFF;
        if offset == 0 && data.first().copied().is_some_and(off) {
            self.0.report(End::Reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_command_to_switch_off_ends_the_machine() {
        let end = Arc::new(EndSignal::new().unwrap());
        let mut power = Power::new(end.clone());
        for (offset, value) in [(0, 0x14), (0, 0x20), (0, 0x38), (1, 0x34)] {
            power.write(offset, &[value]);
        }
        power.write(0, &[]);
        assert!(end.end().is_none());
        power.write(0, &[0x34]);
        assert_eq!(end.end(), Some(&End::Reset));
    }
}
