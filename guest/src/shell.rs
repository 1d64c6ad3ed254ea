//! The prompt: commands typed at the console, one line each.
//!
//! Owns: the line being typed. Stays outside: echo and line editing, which are the terminal's. A failing
//! command does not end the prompt; `exit` does, and so does a console that is gone.

use crate::{commands, console, drivers};
use shared::exit::ExitStatus;

const MAX_LINE: usize = 1024;
const PROMPT: &[u8] = b"> ";

/// Reads and runs commands until `exit`; the status of the last one.
pub fn run() -> ExitStatus {
    let mut line = Line { bytes: [0; MAX_LINE], used: 0 };
    let mut status = ExitStatus::Ok;
    console::write(PROMPT);
    loop {
        let mut input = [0; 256];
        let count = drivers::console::receive(&mut input);
        if count == 0 {
            if !drivers::console::is_open() {
                return status;
            }
            drivers::console::wait_for_input();
            continue;
        }
        for byte in &input[..count.min(256)] {
            match *byte {
                b'\n' | b'\r' => {
                    let text = line.take();
                    if text.trim() == "exit" {
                        return status;
                    }
                    status = commands::run_script(text);
                    console::write(PROMPT);
                }
                END_OF_INPUT => return status,
                other => line.push(other),
            }
        }
    }
}

/// Control-D.
const END_OF_INPUT: u8 = 4;

struct Line {
    bytes: [u8; MAX_LINE],
    used: usize,
}

impl Line {
    /// What does not fit is cut off.
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.used) {
            *slot = byte;
            self.used += 1;
        }
    }

    fn take(&mut self) -> &str {
        let used = core::mem::take(&mut self.used);
        core::str::from_utf8(&self.bytes[..used]).unwrap_or("")
    }
}
