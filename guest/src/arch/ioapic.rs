//! The I/O APIC: which vector a device's interrupt pin raises, and on which CPU.
//!
//! Owns: the registers at the fixmap page. Stays outside: which pin a device has and which line it gets
//! ([`crate::drivers`]). Every device here is edge-triggered and active high. After reset all pins are masked,
//! and stay so until they are routed; that saves some hundred register accesses at boot, each an exit on
//! hosts without an in-kernel I/O APIC.
//! Source: Intel 82093AA data sheet; ACPI 6.4 section 5.2.12.3 for the base of its interrupts.

use super::idt::FIRST_INTERRUPT;
use super::irq::LINES;
use core::fmt;
use shared::layout::{FIXMAP_IOAPIC, IOAPIC};

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;

const VERSION: u32 = 0x01;
const FIRST_ENTRY: u32 = 0x10;

/// Why an interrupt cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// The I/O APIC is not at the one address that the kernel maps.
    Elsewhere {
        /// Where it is.
        address: u64,
    },
    /// The I/O APIC has no pin for this interrupt.
    NoPin {
        /// Global system interrupt.
        gsi: u32,
        /// First interrupt after those that it has.
        end: u32,
    },
    /// The CPU cannot be named in an entry, which has 8 bits for it.
    FarCpu {
        /// Its APIC id.
        apic_id: u32,
    },
    /// There is no such interrupt line.
    NoLine {
        /// The line.
        line: usize,
    },
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere { address } => {
                write!(f, "the I/O APIC is at {address:#x}, only one at {IOAPIC:#x} is supported")
            }
            Self::NoPin { gsi, end } => {
                write!(f, "interrupt {gsi} has no pin: the I/O APIC at {IOAPIC:#x} has those below {end}")
            }
            Self::FarCpu { apic_id } => write!(f, "the CPU with APIC id {apic_id} is out of its reach"),
            Self::NoLine { line } => write!(f, "interrupt line {line} of {LINES} does not exist"),
        }
    }
}

fn write(register: u32, value: u32) {
    // SAFETY: the fixmap page shows the I/O APIC and nothing else, from the first instruction on. Its
    // registers choose interrupts; they do not touch memory.
    unsafe {
        ((FIXMAP_IOAPIC + SELECT) as *mut u32).write_volatile(register);
        ((FIXMAP_IOAPIC + WINDOW) as *mut u32).write_volatile(value);
    }
}

fn read(register: u32) -> u32 {
    // SAFETY: as for `write`; reading has no effect.
    unsafe {
        ((FIXMAP_IOAPIC + SELECT) as *mut u32).write_volatile(register);
        ((FIXMAP_IOAPIC + WINDOW) as *const u32).read_volatile()
    }
}

/// The I/O APIC in use. One owner at a time, because a register takes two accesses.
pub struct IoApic {
    gsi_base: u32,
    pins: u32,
}

impl IoApic {
    /// Finds it among the `listed` ones; a machine that lists none has it where every PC has it.
    pub fn find(listed: &[shared::acpi::IoApic]) -> Result<Self, RouteError> {
        let gsi_base = match (listed.iter().find(|apic| apic.address == IOAPIC), listed.first()) {
            (Some(apic), _) => apic.gsi_base,
            (None, Some(other)) => return Err(RouteError::Elsewhere { address: other.address }),
            (None, None) => 0,
        };
        // Bits 16 to 23: number of the last pin.
        Ok(Self { gsi_base, pins: (read(VERSION) >> 16 & 0xff) + 1 })
    }

    /// Has interrupt `gsi` raise line `line` on the CPU with `apic_id`, from now on.
    pub fn route(&mut self, gsi: u32, line: usize, apic_id: u32) -> Result<(), RouteError> {
        let end = self.gsi_base + self.pins;
        let no_pin = RouteError::NoPin { gsi, end };
        let pin = gsi.checked_sub(self.gsi_base).filter(|_| gsi < end).ok_or(no_pin)?;
        let destination = u8::try_from(apic_id).map_err(|_| RouteError::FarCpu { apic_id })?;
        if line >= LINES {
            return Err(RouteError::NoLine { line });
        }
        let entry = FIRST_ENTRY + 2 * pin;
        // Fixed delivery, physical destination, active high, edge: all zero but the vector. The half with
        // the mask bit comes last.
        write(entry + 1, u32::from(destination) << 24);
        write(entry, u32::from(FIRST_INTERRUPT) + line as u32);
        Ok(())
    }
}
