//! COM1: output before the console is up, where there is none, and last words.
//!
//! Each byte is an exit to the monitor (30 to 50 us on software KVM).

use crate::arch::port;
use core::fmt::{self, Write};
use shared::layout::COM1_PORT;

const LINE_STATUS: u16 = 5;
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// Looks at the line status before a byte is sent regardless: a dead port must not hang the last words.
const PATIENCE: u32 = 10_000;

struct Port;

impl Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// Sends bytes as they are.
pub fn write(bytes: &[u8]) {
    for byte in bytes {
        for _ in 0..PATIENCE {
            if port::read_u8(COM1_PORT + LINE_STATUS) & TRANSMIT_EMPTY != 0 {
                break;
            }
        }
        port::write_u8(COM1_PORT, *byte);
    }
}

/// Sends formatted text.
pub fn print(args: fmt::Arguments<'_>) {
    let _ = Port.write_fmt(args);
}
