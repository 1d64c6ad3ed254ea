//! The command line of the guest.
//!
//! Owns: its order (`ring=`, the user's parameters, what the monitor adds, `run=`, the devices), the limits on
//! each part, and which scripts go over the console instead.
//! Stays outside: what parameters mean (`shared::params`), writing it to memory (`boot::pvh`).

use std::fmt::Write;
use std::time::Duration;

use shared::layout::{GUEST_PARAMETERS_SIZE, VIRTIO_MMIO_SIZE};
use shared::params::PsiTrigger;

use crate::devices::VirtioSlot;

/// Longest script in bytes that goes into `run=`; a longer one goes over the console.
pub const MAX_RUN: usize = 1500;
/// Longest value of `--run` in bytes.
pub const MAX_SCRIPT: usize = 1 << 20;

/// What is wrong with the user's part of the command line; each text is a complete line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CmdlineError {
    /// Too many commands.
    #[error("--run has {0} bytes, at most {MAX_SCRIPT} are taken; split it into several runs")]
    RunTooLong(usize),
    /// Bytes that no script can hold.
    #[error("--run must not contain control characters; separate commands with `;` or line breaks")]
    RunControl,
    /// All of it is too long.
    #[error(
        "the guest's parameters take {0} bytes, at most {GUEST_PARAMETERS_SIZE} fit; shorten --append or --run"
    )]
    TooLong(usize),
    /// Bytes a command line cannot hold.
    #[error("--append must not contain NUL bytes or line breaks; separate parameters with spaces")]
    AppendBreaks,
}

/// Whether a script fits into `run=`: by its size, and because the value is quoted.
pub fn fits(run: &str) -> bool {
    run.len() <= MAX_RUN && !run.contains(['"', '\n', '\t'])
}

/// The user's part: `ring=`, then `update`, the time between two updates of the statistics area, and
/// `pressure`, the trigger that the guest is to have, then `append`, which may set others, then the script, or its size if it does not fit. An empty `run` gives no word.
pub fn user_part(
    ring: Option<u8>,
    append: &str,
    update: Option<Duration>,
    pressure: Option<&PsiTrigger>,
    run: &str,
) -> Result<String, CmdlineError> {
    if run.len() > MAX_SCRIPT {
        return Err(CmdlineError::RunTooLong(run.len()));
    }
    if run.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
        return Err(CmdlineError::RunControl);
    }
    if append.contains(['\n', '\r', '\0']) {
        return Err(CmdlineError::AppendBreaks);
    }
    let mut words = Vec::new();
    if let Some(ring) = ring {
        words.push(format!("ring={ring}"));
    }
    words.extend(update.map(|update| format!("stats.interval_ms={}", update.as_millis())));
    words.extend(pressure.map(|trigger| format!("psi.trigger=\"{trigger}\"")));
    words.extend(Some(append.trim().to_owned()).filter(|text| !text.is_empty()));
    if !fits(run) {
        words.push(format!("run_bytes={}", run.len()));
    } else if !run.is_empty() {
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
