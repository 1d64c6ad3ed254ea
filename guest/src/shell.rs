//! Commands that come over the console: typed at the prompt, one line each, or sent as a script before that.
//!
//! Owns: the line being typed, the script being received. Stays outside: echo and line editing, which are the terminal's. A failing
//! command does not end the prompt; `exit` does, and so does a console that is gone.

use crate::{commands, console, drivers, memory};
use mm::addr::PAGE_SIZE;
use shared::exit::ExitStatus;

const MAX_LINE: usize = 1024;
const PROMPT: &[u8] = b"> ";

/// Receives a script of `size` bytes and runs it; the status of the run.
pub fn run_sent(size: usize) -> ExitStatus {
    let Some((_, memory)) = memory::dma_alloc(size.div_ceil(PAGE_SIZE as usize)) else {
        let what = format_args!("no memory for a script of {size} bytes; use a larger --mem");
        return commands::fail(ExitStatus::Usage, what);
    };
    // SAFETY: that much was just allocated and zeroed, and it is never freed.
    let script = unsafe { core::slice::from_raw_parts_mut(memory.as_ptr(), size) };
    let mut received = 0;
    while let Some(rest) = script.get_mut(received..).filter(|rest| !rest.is_empty()) {
        let count = drivers::console::receive(rest);
        received += count;
        if count == 0 {
            if !drivers::console::is_open() {
                let what = format_args!("the console is gone after {received} of {size} bytes of the script");
                return commands::fail(ExitStatus::Usage, what);
            }
            drivers::console::wait_for_input();
        }
    }
    match core::str::from_utf8(script) {
        Ok(script) => commands::run_user_script(script),
        Err(error) => commands::usage(format_args!("the script is no text: {error}")),
    }
}

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
                    status = commands::run_user_script(text);
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
