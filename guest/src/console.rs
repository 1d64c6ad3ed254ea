//! What the kernel prints: a ring of bytes, drained by the virtio console, or by serial where there is none.
//!
//! Owns: the ring and the choice of the way out. Stays outside: the devices. Until the choice is made output
//! waits in the ring; when the ring is full the writer drains it. Invariants: bytes that the device has in
//! hand are not overwritten; what is printed before [`flush`] has left when it returns, unless the device
//! is stuck.

use crate::drivers::console::{self as device, SendError};
use crate::machine::CPU;
use crate::serial;
use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, Ordering};
use mm::sync::SpinLock;

const RING: usize = 64 << 10;
/// Polls of a device that does not take output before what is left is given up.
const PATIENCE: u32 = 50_000_000;

#[repr(C, align(4096))]
struct Bytes(UnsafeCell<[u8; RING]>);
// SAFETY: bytes are written under the lock of `STATE`, and only those the device does not have in hand.
unsafe impl Sync for Bytes {}

static BYTES: Bytes = Bytes(UnsafeCell::new([0; RING]));

/// Positions count bytes since boot: written >= handed >= done, and written - done <= RING.
struct State {
    written: usize,
    handed: usize,
    done: usize,
}

static STATE: SpinLock<State> = SpinLock::new(State { written: 0, handed: 0, done: 0 });

/// Where output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Way {
    Undecided,
    Serial,
    Virtio,
}

static WAY: AtomicU8 = AtomicU8::new(Way::Undecided as u8);

fn way() -> Way {
    match WAY.load(Ordering::Acquire) {
        1 => Way::Serial,
        2 => Way::Virtio,
        _ => Way::Undecided,
    }
}

/// Output goes to the virtio console from now on, what waits first.
pub fn use_virtio() {
    WAY.store(Way::Virtio as u8, Ordering::Release);
    pump();
}

/// There is no virtio console: output goes to serial.
pub fn use_serial() {
    WAY.store(Way::Serial as u8, Ordering::Release);
    pump();
}

/// How many bytes were printed since boot.
pub fn position() -> u64 {
    STATE.lock(&CPU).written as u64
}

/// Moves output towards the device without waiting for it.
pub fn pump() {
    drain(&mut STATE.lock(&CPU));
}

fn chunk(from: usize, to: usize) -> &'static [u8] {
    let start = from % RING;
    let length = (to - from).min(RING - start);
    // SAFETY: the bytes from `from` to `to` are written and stay as they are until `done` passes them.
    unsafe { core::slice::from_raw_parts(BYTES.0.get().cast::<u8>().add(start), length) }
}

fn drain(state: &mut State) {
    match way() {
        Way::Undecided => {}
        Way::Serial => {
            while state.done < state.written {
                let bytes = chunk(state.done, state.written);
                serial::write(bytes);
                state.done += bytes.len();
            }
            state.handed = state.done;
        }
        Way::Virtio => {
            state.done += device::reclaim();
            while state.handed < state.written {
                let bytes = chunk(state.handed, state.written);
                match device::transmit(bytes) {
                    Ok(()) => state.handed += bytes.len(),
                    Err(SendError::Full) => return,
                    Err(SendError::Lost) => {
                        // What the device had in hand counts as sent; the rest leaves by serial.
                        WAY.store(Way::Serial as u8, Ordering::Release);
                        state.done += device::reclaim();
                        return drain(state);
                    }
                }
            }
        }
    }
}

/// Prints bytes.
pub fn write(mut bytes: &[u8]) {
    let mut state = STATE.lock(&CPU);
    let mut patience = PATIENCE;
    while !bytes.is_empty() {
        let room = RING - (state.written - state.done);
        if room == 0 {
            drain(&mut state);
            if RING == state.written - state.done {
                // A device that never takes anything loses output rather than the machine.
                patience -= 1;
                if patience == 0 || way() == Way::Undecided {
                    return;
                }
                core::hint::spin_loop();
            }
            continue;
        }
        let start = state.written % RING;
        let count = bytes.len().min(room).min(RING - start);
        let (now, later) = bytes.split_at(count);
        // SAFETY: the room is neither unread output nor in the device's hands; the lock is held.
        unsafe {
            core::ptr::copy_nonoverlapping(now.as_ptr(), BYTES.0.get().cast::<u8>().add(start), count);
        }
        state.written += count;
        bytes = later;
    }
    drain(&mut state);
}

/// Waits until everything printed has left. Works with interrupts masked and in the middle of a crash.
pub fn flush() {
    if way() == Way::Undecided {
        WAY.store(Way::Serial as u8, Ordering::Release);
    }
    for _ in 0..PATIENCE {
        // A crash inside the console's own lock leaves it held: then its output is lost, not the report.
        let Some(mut state) = STATE.try_lock(&CPU) else {
            core::hint::spin_loop();
            continue;
        };
        drain(&mut state);
        if state.done == state.written {
            return;
        }
    }
}

/// Text on its way to [`write`], in pieces of up to 512 bytes, so that each drains once.
struct Piece {
    bytes: [u8; 512],
    used: usize,
}

impl Piece {
    const fn new() -> Self {
        Self { bytes: [0; 512], used: 0 }
    }

    fn send(&mut self) {
        write(&self.bytes[..self.used]);
        self.used = 0;
    }
}

impl Write for Piece {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.as_bytes().chunks(self.bytes.len()) {
            if self.used + piece.len() > self.bytes.len() {
                self.send();
            }
            self.bytes[self.used..self.used + piece.len()].copy_from_slice(piece);
            self.used += piece.len();
        }
        Ok(())
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.send();
    }
}

/// Prints formatted text.
pub fn print(args: fmt::Arguments<'_>) {
    let _ = Piece::new().write_fmt(args);
}

/// A writer for renderers of long texts; the end of a text is out when the writer is dropped.
pub fn writer() -> impl Write {
    Piece::new()
}
