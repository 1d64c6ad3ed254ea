//! Devices: found by the `virtio_mmio.device=` words of the command line, each with its driver.
//!
//! Owns: discovery. Stays outside: the early serial port, and everything that uses a device; a driver calls
//! nothing above it but the two functions that discovery is given.
//!
//! | module | job |
//! |---|---|
//! | [`lines`] | interrupts |
//! | [`virtio`] | what all devices have in common |
//! | [`blk`] | disks |
//! | [`console`] | output and input |
//!
//! Source: Linux `Documentation/admin-guide/kernel-parameters.txt`, `virtio_mmio.device=`.

pub mod blk;
pub mod console;
mod lines;
mod virtio;

use core::fmt;
use lines::{LineError, Lines};
use shared::params::{Value, VirtioMmio, check, lookup, occurrences};
use virtio::{Device, Unusable};
use virtio_drivers::transport::DeviceType;

const PARAMETER: &str = "virtio_mmio.device";
/// Names a disk that does not turn.
const NONROT: &str = "nonrot";

/// What discovery tells and needs.
#[derive(Clone, Copy)]
pub struct Callbacks {
    /// Prints one line, with its end.
    pub print: fn(fmt::Arguments<'_>),
    /// Called when the console can be used: the other devices may take a while.
    pub console_ready: fn(),
    /// Called in an interrupt when a console that was full takes output again.
    pub console_has_room: fn(),
    /// CPUs that there will be; a disk gets a queue for each.
    pub cpus: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Disks, in [`blk::disks`].
    pub disks: usize,
    /// There is a console to use.
    pub console: bool,
}

/// Why a word gives no device.
enum Refusal {
    Overlap,
    Line(LineError),
    Device(Unusable),
    Kind(DeviceType),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap => write!(f, "its registers are part of a device named before"),
            Self::Line(error) => write!(f, "{error}"),
            Self::Device(error) => write!(f, "{error}"),
            Self::Kind(kind) => write!(f, "there is no driver for a {kind:?} device"),
        }
    }
}

impl From<LineError> for Refusal {
    fn from(error: LineError) -> Self {
        Self::Line(error)
    }
}

impl From<Unusable> for Refusal {
    fn from(error: Unusable) -> Self {
        Self::Device(error)
    }
}

/// Finds and starts every device. Once, on the boot CPU, with memory management and interrupts on.
pub fn discover(cmdline: &str, io_apics: &[shared::acpi::IoApic], callbacks: Callbacks) -> Found {
    let print = callbacks.print;
    let mut found = Found::default();
    if windows(cmdline).next().is_none() {
        print(format_args!("devices: no {PARAMETER}= on the command line, so no disk and no console\n"));
        return found;
    }
    let mut lines = match Lines::new(io_apics, on_interrupt) {
        Ok(lines) => lines,
        Err(error) => {
            print(format_args!("devices: {error}; no device is used\n"));
            return found;
        }
    };
    for (number, window) in windows(cmdline).enumerate() {
        let started = if windows(cmdline).take(number).any(|other| overlap(&window, &other)) {
            Err(Refusal::Overlap)
        } else {
            // SAFETY: no window before overlaps this one.
            unsafe { start(&window, &mut lines, callbacks, &mut found) }
        };
        if let Err(refusal) = started {
            print(format_args!("{PARAMETER}= at {:#x}: {refusal}; the device is not used\n", window.base));
        }
    }
    for name in nonrot(cmdline) {
        // The disk of a partition.
        match blk::find(name.trim_end_matches(|c: char| c.is_ascii_digit())) {
            Some(disk) => disk.set_nonrot(),
            None => print(format_args!("{NONROT}=: {name}: no such device\n")),
        }
    }
    found
}

/// The disks that do not turn, as the command line says.
fn nonrot(cmdline: &str) -> impl Iterator<Item = &str> {
    occurrences(cmdline, NONROT).filter_map(|token| match check(lookup(NONROT)?, token.value) {
        Ok(Value::Device(name)) => Some(name),
        _ => None,
    })
}

/// The windows that the command line names. What is no window was reported with the other parameters.
pub fn windows(cmdline: &str) -> impl Iterator<Item = VirtioMmio> {
    occurrences(cmdline, PARAMETER).filter_map(|token| match check(lookup(PARAMETER)?, token.value) {
        Ok(Value::VirtioMmio(window)) => Some(window),
        _ => None,
    })
}

fn overlap(a: &VirtioMmio, b: &VirtioMmio) -> bool {
    a.base < b.base.saturating_add(b.size) && b.base < a.base.saturating_add(a.size)
}

/// Starts the device behind one window, if there is one.
///
/// # Safety
/// No open window overlaps this one.
unsafe fn start(
    window: &VirtioMmio,
    lines: &mut Lines,
    callbacks: Callbacks,
    found: &mut Found,
) -> Result<(), Refusal> {
    // SAFETY: by the caller.
    let Some(device) = (unsafe { Device::open(window) })? else { return Ok(()) };
    match device.kind() {
        DeviceType::Block => {
            let line = lines.connect(window.irq)?;
            let disk = blk::attach(device, line, callbacks.cpus)?;
            found.disks += 1;
            (callbacks.print)(format_args!(
                "vd{}: {} sectors{} id={}\n",
                disk.letter(),
                disk.sectors(),
                if disk.is_read_only() { ", read-only" } else { "" },
                disk.serial()
            ));
        }
        DeviceType::Console => {
            let line = lines.connect(window.irq)?;
            console::attach(device, line, callbacks.console_has_room)?;
            found.console = true;
            (callbacks.console_ready)();
        }
        kind => return Err(Refusal::Kind(kind)),
    }
    Ok(())
}

/// The handler of every device line.
fn on_interrupt(line: usize) {
    blk::on_interrupt(line);
    console::on_interrupt(line);
}
