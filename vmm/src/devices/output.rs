//! The way of guest output to the standard output of the monitor.
//!
//! Owns: what happens when nobody reads any more. The machine then runs on silently, because its exit
//! status still counts (`vmm run | head -1`).
//! Stays outside: ordering between devices; each write goes out at once, nothing is buffered here.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};

/// A writer that never fails: output nobody can take is dropped.
#[derive(Debug)]
pub struct Output {
    /// `None` once the reader is gone.
    file: Option<File>,
}

impl Output {
    /// Writes to the standard output of this process.
    pub fn stdout() -> Self {
        Self { file: io::stdout().as_fd().try_clone_to_owned().ok().map(File::from) }
    }

    /// Writes to `file`.
    pub fn to_file(file: File) -> Self {
        Self { file: Some(file) }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while let Some(file) = &mut self.file {
            match file.write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_writable(file),
                Err(_) => self.file = None,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks until `file`, which somebody made non-blocking, takes bytes again or breaks.
fn wait_writable(file: &File) {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: `poll` is one valid pollfd and outlives the call; the descriptor is open.
    unsafe { libc::poll(&mut poll, 1, -1) };
}

#[cfg(test)]
mod tests;
