//! The way of guest output to the standard output of the monitor.
//!
//! Owns: what happens when nobody reads. When the reader is gone the machine runs on silently, because
//! its exit status still counts (`vmm run | head -1`). When the reader is stuck the guest waits, but not
//! beyond the end of the machine (time limit, Ctrl-C).
//! Invariants: each write goes out at once, nothing is buffered here, and it goes out after what the console had
//! taken before, so that a report of a crash does not land in the middle of what the guest printed earlier.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::devices::transcript::Transcript;
use crate::devices::virtio::console::Written;
use crate::exit::EndSignal;

/// How long a write waits for the console's. A reader so slow has the console blocked anyway.
const PATIENCE: Duration = Duration::from_secs(2);

/// A writer that never fails: output nobody can take is dropped.
pub struct Output {
    /// `None` once the reader is gone.
    file: Option<File>,
    /// The console that shares the reader; `None` once it is stuck.
    console: Option<Written>,
    end: Arc<EndSignal>,
    transcript: Option<Transcript>,
}

impl Output {
    /// Writes to `file`, after what `console` has taken. Waiting for the reader ends when a signal comes after
    /// `end` was raised. What is written is copied to `transcript`.
    pub fn new(file: File, end: Arc<EndSignal>, console: Written, transcript: Option<Transcript>) -> Self {
        Self { file: Some(file), console: Some(console), end, transcript }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(transcript) = &self.transcript {
            transcript.push(bytes);
        }
        self.console.take_if(|console| !console.wait(Instant::now() + PATIENCE));
        while let Some(file) = &mut self.file {
            match file.write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if self.end.end().is_some() {
                        self.file = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !wait_writable(file) && self.end.end().is_some() {
                        self.file = None;
                    }
                }
                Err(_) => self.file = None,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks until `file`, which somebody made non-blocking, takes bytes again or breaks. Returns false when
/// a signal ended the wait.
fn wait_writable(file: &File) -> bool {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: `poll` is one valid pollfd and outlives the call; the descriptor is open.
    let ready = unsafe { libc::poll(&mut poll, 1, -1) };
    ready >= 0
}

#[cfg(test)]
mod tests;
