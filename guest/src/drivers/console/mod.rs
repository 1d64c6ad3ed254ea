//! The virtio console: output goes out, input comes in. Port 0 only.
//!
//! Owns: the device, the buffers that input arrives in, and which output the device has in hand. Stays
//! outside: what is printed and when (the ring of `crate::console`), what input means.
//! Invariants: output completes in the order in which it was sent, whatever the device does; nothing here
//! waits for the device; a crash inside this module cannot hang the report of it.
//!
//! Output makes no interrupts while there is room in the queue: the next call of [`reclaim`] finds what is
//! done. Source: VIRTIO 1.2, section 5.3, without VIRTIO_CONSOLE_F_MULTIPORT.

mod input;
mod output;

use super::virtio::{Cause, Device, Unusable};
use crate::machine::CPU;
use crate::task::WaitQueue;
use core::sync::atomic::{AtomicBool, Ordering};
use input::Input;
use mm::port::Cpu;
use mm::sync::{SpinGuard, SpinLock};
use output::Output;

/// Why output was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The device has as much in hand as it can; when it has room again, the function given to the driver is
    /// called.
    Full,
    /// There is no device, or it has failed. Output that it had in hand counts as sent.
    Lost,
}

struct Console {
    device: Device,
    line: usize,
    input: Input,
    output: Output,
    lost: bool,
    /// Called when a full device has room again.
    room: fn(),
}

static CONSOLE: SpinLock<Option<Console>> = SpinLock::new(None);
/// Tasks that wait for input.
static INPUT: WaitQueue = WaitQueue::new();

/// Looks at a closed lock before its holder counts as crashed: about a second.
const PATIENCE: u32 = 20_000_000;
static CRASHED: AtomicBool = AtomicBool::new(false);

/// The console for output; `None` when whoever uses it never comes back.
fn open() -> Option<SpinGuard<'static, Option<Console>, crate::machine::Cpu>> {
    let patience = if CRASHED.load(Ordering::Relaxed) { 1 } else { PATIENCE };
    for _ in 0..patience {
        if let Some(console) = CONSOLE.try_lock(&CPU) {
            return Some(console);
        }
        CPU.relax();
    }
    CRASHED.store(true, Ordering::Relaxed);
    None
}

/// Hands output to the device, which reads it until [`reclaim`] has counted it. Does not wait.
///
/// # Errors
/// [`SendError`]; nothing of `bytes` was taken.
pub fn transmit(bytes: &'static [u8]) -> Result<(), SendError> {
    let mut guard = open().ok_or(SendError::Lost)?;
    match guard.as_mut() {
        Some(console) if !console.lost => {
            let result = console.output.send(&mut console.device, bytes);
            if result == Err(SendError::Lost) {
                console.give_up();
            }
            result
        }
        _ => Err(SendError::Lost),
    }
}

/// How many bytes of output the device is done with since the last call, in the order of [`transmit`].
pub fn reclaim() -> usize {
    open().and_then(|mut guard| guard.as_mut().map(Console::reclaim)).unwrap_or(0)
}

/// Moves input that has arrived into `bytes`; returns how much. Does not wait.
pub fn receive(bytes: &mut [u8]) -> usize {
    CONSOLE.lock(&CPU).as_mut().map_or(0, |console| console.receive(bytes))
}

/// Whether there is a device that works.
pub fn is_open() -> bool {
    CONSOLE.lock(&CPU).as_ref().is_some_and(|console| !console.lost)
}

/// Sleeps until [`receive`] has something, or there is no device, or it has failed; then it has nothing.
pub fn wait_for_input() {
    INPUT.wait_until(|| {
        CONSOLE.lock(&CPU).as_ref().is_none_or(|console| console.lost || console.input.ready())
    });
}

impl Console {
    fn reclaim(&mut self) -> usize {
        if !self.output.collect() {
            self.give_up();
        }
        self.output.take_done()
    }

    fn receive(&mut self, bytes: &mut [u8]) -> usize {
        if self.lost {
            return 0;
        }
        let taken = self.input.take(&mut self.device, bytes);
        if taken.is_none() {
            self.give_up();
        }
        taken.unwrap_or(0)
    }

    /// Takes in an interrupt. Returns whether a full device has room again.
    fn on_interrupt(&mut self) -> bool {
        if self.lost {
            return false;
        }
        let cause = self.device.acknowledge();
        let room = self.output.has_room_again();
        let unexplained = self.device.must_ask() && !room && !self.input.ready();
        if (cause == Cause::Configuration || unexplained) && self.device.has_failed() {
            self.give_up();
        }
        room || self.lost
    }

    fn give_up(&mut self) {
        self.device.stop();
        self.output.give_up();
        self.lost = true;
    }
}

/// The console's line was raised.
pub(super) fn on_interrupt(line: usize) {
    let mut guard = CONSOLE.lock(&CPU);
    let Some(console) = guard.as_mut().filter(|console| console.line == line) else { return };
    let (room, sender) = (console.on_interrupt(), console.room);
    drop(guard);
    INPUT.wake_all();
    if room {
        sender();
    }
}

/// Starts a device whose interrupts arrive on `line`; `room` is called when it can take output again after
/// [`SendError::Full`].
pub(super) fn attach(mut device: Device, line: usize, room: fn()) -> Result<(), Unusable> {
    if CONSOLE.lock(&CPU).is_some() {
        return Err(Unusable::TooMany);
    }
    device.negotiate(0)?;
    // Buffers may have to wait for memory, so nothing is locked until they are there.
    let mut input = Input::new(&mut device)?;
    let output = Output::new(&mut device)?;
    let mut guard = CONSOLE.lock(&CPU);
    device.start();
    input.start(&mut device);
    *guard = Some(Console { device, line, input, output, lost: false, room });
    Ok(())
}
