//! The thread of one disk: serves its queues and takes in what the host has finished.
//!
//! Owns: the thread, and when it sleeps. System calls of this thread: `ppoll`, `read` and `write` of eventfds,
//! `futex`, `io_uring_enter` (or the locks of the thread pool), `io_uring_setup`, `mmap` and `clone3` at its start,
//! `clock_gettime` through the vDSO, and what the allocator needs (`brk`, `mmap`, `munmap`, `madvise`).
//! Stays outside: what serving means (`device`).
//! Invariants: it sleeps only with the driver's notifications asked for, so no notification is lost. After work it
//! looks again for a short while before it sleeps: a busy driver then needs no notification at all, which saves it an
//! exit and us a wake-up.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::super::VirtioEvents;
use crate::exit::{End, EndSignal};
use crate::sandbox::ThreadFilter;

/// How long to look for more before sleeping. A sleep and a wake-up cost about as much on either side.
const LINGER: Duration = Duration::from_micros(50);
/// Looks between two readings of the clock.
const LOOKS: u32 = 16;

/// A disk's thread that does not run yet.
pub struct DiskWorker {
    name: String,
    events: VirtioEvents,
    event: Option<RawFd>,
    end: Arc<EndSignal>,
}

/// A disk's thread.
pub struct DiskThread {
    handle: JoinHandle<()>,
    stop: EventFd,
}

impl DiskWorker {
    /// Will serve the device behind `events`, a disk called `name`; reports to `end` if it cannot go on.
    pub fn new(name: &str, events: VirtioEvents, end: Arc<EndSignal>) -> Self {
        Self { name: name.to_owned(), events, event: None, end }
    }

    /// Starts the thread. It enters `filter` once it has what it needs; threads that help it enter `helpers`. Fails
    /// when the host has no thread or descriptor left.
    pub fn spawn(mut self, filter: ThreadFilter, helpers: ThreadFilter) -> io::Result<DiskThread> {
        let stop = EventFd::new(EFD_NONBLOCK)?;
        let stopped = stop.try_clone()?;
        let builder = std::thread::Builder::new().name(format!("disk-{}", self.name));
        let handle = builder.spawn(move || {
            let _guard = PanicGuard { name: self.name.clone(), end: Arc::clone(&self.end) };
            self.event = self.events.prepare(helpers);
            match filter.enter() {
                Ok(()) => self.run(&stopped),
                Err(error) => self.end.report(End::Failure(error.to_string())),
            }
        })?;
        Ok(DiskThread { handle, stop })
    }

    fn run(&self, stop: &EventFd) {
        let queues = self.events.kicks().len();
        loop {
            self.work(queues);
            // From here on the driver notifies; what came in between is found by this look.
            let late = (0..queues).fold(false, |late, index| self.events.serve(index) | late);
            let completed = self.events.complete();
            if late || completed.progress {
                continue;
            }
            match self.sleep(stop, completed.due) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let report = format!("disk {}: cannot wait for requests: {error}", self.name);
                    return self.end.report(End::Failure(report));
                }
            }
        }
    }

    /// Works until there has been nothing to do for a while.
    fn work(&self, queues: usize) {
        let mut last = Instant::now();
        loop {
            let mut progress = false;
            for _ in 0..LOOKS {
                progress |= self.events.complete().progress;
                for index in 0..queues {
                    progress |= self.events.poll(index);
                }
                if progress {
                    break;
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            if progress {
                last = now;
            } else if now - last >= LINGER {
                return;
            }
        }
    }

    /// Sleeps until there is something to do. Returns false when the thread is to end.
    fn sleep(&self, stop: &EventFd, due: Option<Instant>) -> io::Result<bool> {
        let watch = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut list = vec![watch(stop.as_raw_fd())];
        list.extend(self.event.map(watch));
        list.extend(self.events.kicks().iter().map(|kick| watch(kick.as_raw_fd())));
        let limit = due.map(|due| due.saturating_duration_since(Instant::now()));
        let limit = limit.map(|limit| libc::timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `list` and `limit` are valid and outlive the call; there is no signal mask.
        let ready =
            unsafe { libc::ppoll(list.as_mut_ptr(), list.len() as libc::nfds_t, limit, std::ptr::null()) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(true) } else { Err(error) };
        }
        Ok(list.first().is_none_or(|stop| stop.revents == 0))
    }
}

impl DiskThread {
    /// Ends the thread. What the host has been asked to do is not waited for.
    pub fn stop(self) {
        // The counter is far from its limit.
        let _ = self.stop.write(1);
        // A thread that panicked has reported it.
        let _ = self.handle.join();
    }
}

/// Ends the machine when the thread panics: without it the guest would wait for ever.
struct PanicGuard {
    name: String,
    end: Arc<EndSignal>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let report = format!("disk {}: its thread panicked; this is a bug", self.name);
            self.end.report(End::Failure(report));
        }
    }
}
