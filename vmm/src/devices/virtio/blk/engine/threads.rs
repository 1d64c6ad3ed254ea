//! Operations by blocking system calls on a few threads.
//!
//! Owns: the threads and the two lists between them and the disk. System calls of these threads: `preadv2`,
//! `pwritev2`, `fdatasync`, `fallocate`, `write` to the eventfd, `futex`.
//! Invariants: the threads end when the engine is dropped, after everything that was pushed is done.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::super::super::lock;
use super::{Done, Engine, Job, Op, Vectors};
use crate::sandbox::ThreadFilter;

/// Operations that can block at the same time.
const THREADS: usize = 4;

/// What the disk and the threads share.
struct Shared {
    state: Mutex<State>,
    /// There is work, or the end has come.
    work: Condvar,
    /// Something was finished.
    finished: Condvar,
    event: EventFd,
}

#[derive(Default)]
struct State {
    todo: VecDeque<Job>,
    done: Vec<Done>,
    ending: bool,
}

/// See the module documentation.
pub struct Threads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts the threads, each in `filter` if there is one. Fails when the host has no thread or descriptor left.
    pub fn new(filter: Option<ThreadFilter>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            finished: Condvar::new(),
            event: EventFd::new(EFD_NONBLOCK)?,
        });
        // The threads that exist end with `engine` when another cannot be had.
        let mut engine = Self { shared, threads: Vec::with_capacity(THREADS) };
        for _ in 0..THREADS {
            let shared = Arc::clone(&engine.shared);
            let filter = filter.clone();
            let thread = std::thread::Builder::new().name(String::from("diskio"));
            engine.threads.push(thread.spawn(move || {
                // Without its filter a thread does nothing for a guest, and says so.
                let allowed = filter.is_none_or(|filter| filter.enter().is_ok());
                shared.serve(if allowed { run } else { |_| -libc::EPERM });
            })?);
        }
        Ok(engine)
    }
}

impl Shared {
    /// The life of one thread, which does operations by `run`.
    fn serve(&self, run: fn(&Job) -> i32) {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.todo.pop_front() {
                drop(state);
                let done = Done { slot: job.slot, result: run(&job) };
                state = lock(&self.state);
                state.done.push(done);
                self.finished.notify_all();
                // A full counter means that the event is pending already.
                let _ = self.event.write(1);
            } else if state.ending {
                return;
            } else {
                state = self.work.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
    }
}

/// Does one operation. Returns as the system calls of the kernel do.
fn run(job: &Job) -> i32 {
    let moved = match job.op {
        Op::Read(Vectors { first, count }, offset) => {
            // SAFETY: by the contract of `Engine::push`, descriptor and vectors are valid until this is done. The
            // guest may race with the kernel for the contents; nothing in this process holds a reference to them.
            unsafe { libc::preadv2(job.fd, first, count as i32, offset as i64, 0) }
        }
        Op::Look(offset) => {
            let mut byte = 0u8;
            let vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
            // SAFETY: the kernel writes at most the one byte, which outlives the call as the vector does.
            unsafe { libc::preadv2(job.fd, &vector, 1, offset as i64, 0) }
        }
        // SAFETY: as for `Read`; the kernel only reads the guest's bytes here.
        Op::Write(Vectors { first, count }, offset) => unsafe {
            libc::pwritev2(job.fd, first, count as i32, offset as i64, 0)
        },
        // SAFETY: as for `Write`.
        Op::WriteThrough(Vectors { first, count }, offset) => unsafe {
            libc::pwritev2(job.fd, first, count as i32, offset as i64, libc::RWF_DSYNC)
        },
        // SAFETY: takes no pointers; the descriptor is open.
        Op::Sync => unsafe { libc::fdatasync(job.fd) as isize },
        // SAFETY: as for `Sync`.
        Op::Allocate { mode, offset, len } => unsafe {
            libc::fallocate(job.fd, mode, offset as i64, len as i64) as isize
        },
    };
    match i32::try_from(moved) {
        Ok(moved) if moved >= 0 => moved,
        Ok(_) => -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
        // No call moves more than 2 GiB.
        Err(_) => i32::MAX,
    }
}

impl Engine for Threads {
    unsafe fn push(&mut self, job: Job) {
        lock(&self.shared.state).todo.push_back(job);
        self.shared.work.notify_one();
    }

    fn submit(&mut self) -> bool {
        true
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        // An empty eventfd only means that nothing came since the last time.
        let _ = self.shared.event.read();
        done.append(&mut lock(&self.shared.state).done);
    }

    fn wait(&mut self) {
        let state = lock(&self.shared.state);
        let finished = self.shared.finished.wait_while(state, |state| state.done.is_empty());
        drop(finished.unwrap_or_else(|poisoned| poisoned.into_inner()));
    }

    fn event(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.shared.state).ending = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to do.
            let _ = thread.join();
        }
    }
}
