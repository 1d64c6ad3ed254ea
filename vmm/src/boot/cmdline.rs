//! The command line of the guest.
//!
//! Owns: its order (`ring=`, the user's parameters, `run=`, the devices) and the limits on each part.
//! Stays outside: what parameters mean (`shared::params`), writing it to memory (`boot::pvh`).

use std::fmt::Write;

use shared::layout::{GUEST_PARAMETERS_SIZE, VIRTIO_MMIO_SIZE};

use crate::devices::VirtioSlot;

/// Longest value of `--run` in bytes.
pub const MAX_RUN: usize = 1500;

/// What is wrong with the user's part of the command line; each text is a complete line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CmdlineError {
    /// Too many commands.
    #[error("--run has {0} bytes, at most {MAX_RUN} fit; split it into several runs")]
    RunTooLong(usize),
    /// Commands that cannot be quoted.
    #[error("--run must not contain double quotes or line breaks; separate commands with `;`")]
    RunQuotes,
    /// All of it is too long.
    #[error(
        "the guest's parameters take {0} bytes, at most {GUEST_PARAMETERS_SIZE} fit; shorten --append or --run"
    )]
    TooLong(usize),
    /// Bytes a command line cannot hold.
    #[error("--append must not contain NUL bytes or line breaks; separate parameters with spaces")]
    AppendBreaks,
}

/// The user's part: `ring=`, then `append`, then `run=`. An empty `run` gives no word.
pub fn user_part(ring: Option<u8>, append: &str, run: &str) -> Result<String, CmdlineError> {
    if run.len() > MAX_RUN {
        return Err(CmdlineError::RunTooLong(run.len()));
    }
    if run.contains(['"', '\n', '\r', '\0']) {
        return Err(CmdlineError::RunQuotes);
    }
    if append.contains(['\n', '\r', '\0']) {
        return Err(CmdlineError::AppendBreaks);
    }
    let mut words = Vec::new();
    if let Some(ring) = ring {
        words.push(format!("ring={ring}"));
    }
    words.extend(Some(append.trim().to_owned()).filter(|text| !text.is_empty()));
    if !run.is_empty() {
        words.push(format!("run=\"{run}\""));
    }
    let line = words.join(" ");
    match line.len() {
        size if size as u64 > GUEST_PARAMETERS_SIZE => Err(CmdlineError::TooLong(size)),
        _ => Ok(line),
    }
}

/// The whole line: the user's part, then one `virtio_mmio.device=` word per device.
pub fn with_devices(user_part: &str, devices: &[VirtioSlot]) -> String {
    let mut line = user_part.to_owned();
    for VirtioSlot { base, gsi } in devices {
        if !line.is_empty() {
            line.push(' ');
        }
        // Writing to a string cannot fail.
        let _ = write!(line, "virtio_mmio.device={}K@{base:#x}:{gsi}", VIRTIO_MMIO_SIZE >> 10);
    }
    line
}

#[cfg(test)]
mod tests;
