//! How a machine ends, and what that means for the process.
//!
//! Owns: the reasons ([`End`]), the signal that the first of them raises ([`EndSignal`]), and the map
//! to exit statuses.
//! Stays outside: the numbers themselves (`shared::exit`), printing and exiting (`main`).
//! Invariants: the first reported end wins; later ones are dropped.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use shared::exit::{ExitStatus, INTERRUPTED};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Why the machine stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The guest wrote this value to the debug-exit port.
    Guest(u32),
    /// The guest asked for a reset or a power-off.
    Reset,
    /// The guest cannot go on; the text says what happened, with registers.
    Crash(String),
    /// The time limit is over.
    Timeout,
    /// SIGINT or SIGTERM arrived.
    Interrupted,
    /// The monitor cannot go on; the text says why.
    Failure(String),
}

impl End {
    /// The exit status of the process (0 to 8, or 130).
    pub fn status(&self) -> u8 {
        let status = match self {
            Self::Guest(code) => ExitStatus::from_code(*code).unwrap_or(ExitStatus::Crashed),
            Self::Reset => ExitStatus::Ok,
            Self::Crash(_) => ExitStatus::Crashed,
            Self::Timeout => ExitStatus::Timeout,
            Self::Failure(_) => ExitStatus::HostUnable,
            Self::Interrupted => return INTERRUPTED,
        };
        status.code() as u8
    }

    /// What it was, in a word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Guest(_) => "guest",
            Self::Reset => "reset",
            Self::Crash(_) => "crash",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Failure(_) => "failure",
        }
    }
}

/// What the user should read; nothing when the guest ended by itself with a known status.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(code) if ExitStatus::from_code(*code).is_none() => {
                write!(f, "the guest ended with the unknown status {code}")
            }
            Self::Guest(_) | Self::Reset | Self::Interrupted => Ok(()),
            Self::Crash(report) => write!(f, "the guest crashed: {report}"),
            Self::Timeout => write!(f, "time limit reached; raise or drop --timeout"),
            Self::Failure(report) => f.write_str(report),
        }
    }
}

/// Tells the event loop, once, that the machine has ended.
#[derive(Debug)]
pub struct EndSignal {
    first: OnceLock<End>,
    event: EventFd,
}

impl EndSignal {
    /// A signal that nobody has raised yet. Fails when the host has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { first: OnceLock::new(), event: EventFd::new(EFD_NONBLOCK)? })
    }

    /// Reports an end. Only the first report counts.
    pub fn report(&self, end: End) {
        if self.first.set(end).is_ok() {
            // Writing 1 to a fresh eventfd cannot fail: the counter is far from its limit.
            let _ = self.event.write(1);
        }
    }

    /// The end, once there is one.
    pub fn end(&self) -> Option<&End> {
        self.first.get()
    }

    /// Readable once there is an end; for the event loop.
    pub fn event(&self) -> &EventFd {
        &self.event
    }
}

#[cfg(test)]
mod tests;
