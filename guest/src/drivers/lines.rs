//! Interrupt lines of devices: from a global system interrupt to a line with a handler.
//!
//! Owns: which interrupt has which line. All lines go to the boot CPU. Two devices on one interrupt share its
//! line; the handler asks both.

use crate::arch::ioapic::{IoApic, RouteError};
use crate::arch::irq::{self, LINES, line};
use crate::arch::lapic;
use core::fmt;

/// Why a device gets no interrupts.
#[derive(Clone, Copy, Debug)]
pub enum LineError {
    /// All lines are taken.
    None,
    /// The interrupt controller cannot do it.
    Route(RouteError),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "all {LINES} interrupt lines are taken"),
            Self::Route(error) => write!(f, "{error}"),
        }
    }
}

impl From<RouteError> for LineError {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

/// See the module documentation.
pub struct Lines {
    io_apic: IoApic,
    handler: irq::Handler,
    /// The interrupt of each line in use.
    gsis: [Option<u32>; LINES],
}

impl Lines {
    /// Lines that are all served by `handler`, over one of the `listed` interrupt controllers.
    pub fn new(listed: &[shared::acpi::IoApic], handler: irq::Handler) -> Result<Self, LineError> {
        Ok(Self { io_apic: IoApic::find(listed)?, handler, gsis: [None; LINES] })
    }

    /// The line of interrupt `gsi`, which is raised from now on.
    pub fn connect(&mut self, gsi: u32) -> Result<usize, LineError> {
        if let Some(known) = self.gsis.iter().position(|&used| used == Some(gsi)) {
            return Ok(known);
        }
        let free = self.gsis.iter().skip(line::FIRST_DEVICE).position(Option::is_none);
        let line = free.map(|free| free + line::FIRST_DEVICE).ok_or(LineError::None)?;
        irq::set_handler(line, self.handler);
        self.io_apic.route(gsi, line, lapic::id())?;
        self.gsis[line] = Some(gsi);
        Ok(line)
    }
}
