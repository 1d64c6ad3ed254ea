//! Console output on its way to the host.
//!
//! Owns: the sink, and the bytes the guest was told are taken but the sink has not got yet.
//! Stays outside: where the bytes come from (`device`).
//! Invariants: bytes reach the sink exactly as the guest wrote them, in order, or are counted as
//! lost; a sink that is gone never stops the guest.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Bytes collected before they are written, so that many small buffers make one system call.
const BATCH: usize = 64 * 1024;

/// What a pipe that polls as writable takes without blocking (PIPE_BUF).
const PIECE: usize = 4096;

/// How long a write may wait for a slow sink.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// As long as the sink needs.
    Unlimited,
    /// Until this time; what is left then is lost.
    Until(Instant),
}

/// Output that did not reach the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLoss {
    /// How many bytes are missing.
    pub bytes: u64,
    /// Why, in the host's words.
    pub reason: String,
}

/// The sink with its pending bytes.
pub struct Output {
    sink: File,
    pending: Vec<u8>,
    loss: Option<OutputLoss>,
}

impl Output {
    /// Output to `sink`: a terminal, a pipe or a file, blocking or not.
    pub fn new(sink: File) -> Self {
        Self { sink, pending: Vec::with_capacity(BATCH), loss: None }
    }

    /// What did not reach the sink so far. Once the sink has failed, all later bytes are lost.
    pub fn loss(&self) -> Option<&OutputLoss> {
        self.loss.as_ref()
    }

    /// Takes `bytes`, and writes when a batch is full.
    pub fn push(&mut self, bytes: &[u8], patience: Patience) {
        for piece in bytes.chunks(BATCH) {
            if self.pending.len() + piece.len() > BATCH {
                self.flush(patience);
            }
            self.pending.extend_from_slice(piece);
        }
    }

    /// Writes all pending bytes; on return they are written or lost.
    pub fn flush(&mut self, patience: Patience) {
        let mut written = 0;
        while let Some(rest) = self.pending.get(written..).filter(|rest| !rest.is_empty()) {
            if self.loss.is_some() {
                break;
            }
            match write_some(&self.sink, rest, patience) {
                Ok(count) => written += count,
                Err(error) => self.loss = Some(OutputLoss { bytes: 0, reason: error.to_string() }),
            }
        }
        if let Some(loss) = &mut self.loss {
            loss.bytes += (self.pending.len() - written) as u64;
        }
        self.pending.clear();
    }
}

/// Writes some of `bytes`, which are not empty, and returns how many.
fn write_some(mut sink: &File, bytes: &[u8], patience: Patience) -> io::Result<usize> {
    loop {
        let ready = match patience {
            Patience::Unlimited => bytes,
            Patience::Until(deadline) => {
                wait_writable(sink, Some(deadline))?;
                bytes.get(..PIECE).unwrap_or(bytes)
            }
        };
        match sink.write(ready) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => match patience {
                Patience::Unlimited => wait_writable(sink, None)?,
                Patience::Until(deadline) => wait_writable(sink, Some(deadline))?,
            },
            Err(error) => return Err(error),
        }
    }
}

/// Waits until `sink` takes bytes or has failed; an error of kind `TimedOut` after `deadline`.
fn wait_writable(sink: &File, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let mut poll = libc::pollfd { fd: sink.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: `poll` is one valid entry and outlives the call; the descriptor is open because
        // `sink` is borrowed.
        match unsafe { libc::poll(&mut poll, 1, left.map_or(-1, milliseconds)) } {
            0 if left.is_some_and(|left| left.is_zero()) => return Err(ErrorKind::TimedOut.into()),
            0 => {}
            ready if ready > 0 => return Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

/// `duration` in milliseconds for poll, rounded up so that a wait never spins.
fn milliseconds(duration: Duration) -> libc::c_int {
    duration.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX)
}
