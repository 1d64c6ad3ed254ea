//! SIGINT and SIGTERM as an event of the event loop.
//!
//! Owns: the signalfd. The signals stay blocked in every thread that is started later, so that only
//! the descriptor receives them; one that is started before has them blocked too ([`block`]).

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use crate::exit::{End, EndSignal};

/// Ends the machine when the user or the system asks for it.
pub struct Signals {
    descriptor: File,
    end: Arc<EndSignal>,
}

impl Signals {
    /// Blocks the signals in the calling thread and watches for them instead.
    pub fn watch(end: Arc<EndSignal>) -> io::Result<Self> {
        let set = block()?;
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let descriptor = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self { descriptor, end })
    }
}

/// Blocks the signals in the calling thread; returns which.
pub fn block() -> io::Result<libc::sigset_t> {
    // SAFETY: a signal set is plain data, and all zeros is one; the calls only write to it.
    let set = unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGINT);
        libc::sigaddset(&mut set, libc::SIGTERM);
        set
    };
    // SAFETY: `set` is initialised; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) } {
        0 => Ok(set),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Has a write beyond the limit on file sizes (`ulimit -f`) fail instead of killing the process: it is the guest's
/// write, and a guest can be told.
pub fn ignore_file_size_limit() {
    // SAFETY: ignoring a signal runs no code of ours; with this number the call cannot fail.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

impl MutEventSubscriber for Signals {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        if self.descriptor.read(&mut info).is_ok() {
            self.end.report(End::Interrupted);
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&self.descriptor, EventSet::IN)) {
            self.end.report(End::Failure(format!("cannot watch for Ctrl-C: {error}")));
        }
    }
}
