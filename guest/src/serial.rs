//! COM1: early output and last words.

use crate::arch::port;
use core::fmt::{self, Write};
use shared::layout::COM1_PORT as COM1;

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for byte in s.bytes() {
            port::write_u8(COM1, byte);
        }
        Ok(())
    }
}

/// Writes to the serial port, a byte an exit.
pub fn write_fmt(args: fmt::Arguments<'_>) {
    let _ = Serial.write_fmt(args);
}
