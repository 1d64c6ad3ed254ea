//! Where a new thread begins.
//!
//! Linux puts a new thread into the queue of the CPU that made it. There it waits until that CPU has nothing better to
//! do, or pushes its maker aside; a balancer that moves one of the two to an idle CPU comes milliseconds later. A guest
//! boots in less.

use std::io;
use std::mem::size_of;
use std::os::unix::thread::JoinHandleExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use libc::{cpu_set_t, pthread_t};

/// A thread that began beside its maker and has work to do in two parts: one that it was made with, one that it gets
/// when its maker is ready. It ends when it will get none.
pub struct Beside {
    handle: JoinHandle<()>,
    work: Sender<Box<dyn FnOnce() + Send>>,
}

impl Beside {
    /// Starts a thread that does `first` at once and sends what comes of it. It begins on another CPU if it may use any,
    /// and its maker goes on where it is. Where it runs afterwards is for the host to say, as ever. Fails when the host
    /// has no thread left.
    pub fn start<T: Send + 'static>(
        builder: Builder,
        first: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<(Self, Receiver<T>)> {
        let (results, result) = channel();
        let (work, second) = channel::<Box<dyn FnOnce() + Send>>();
        let placed = Arc::new(OnceLock::new());
        let gate = Arc::clone(&placed);
        let begin = move || {
            // A thread that begins too early waits here, and its maker goes on.
            if let Some(allowed) = gate.wait() {
                allow(this_thread(), allowed);
            }
            // A maker that no longer wants to know sends no work either.
            let _ = results.send(first());
            if let Ok(second) = second.recv() {
                second();
            }
        };
        let handle = builder.spawn(begin)?;
        let id = handle.as_pthread_t();
        let allowed = allowed(id);
        if let Some(others) = allowed.as_ref().and_then(without_this_cpu) {
            allow(id, &others);
        }
        let _ = placed.set(allowed);
        Ok((Self { handle, work }, result))
    }

    /// Gives the thread its second part.
    pub fn go_on(self, second: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        // Only a thread that panicked takes no more; that shows when it is joined.
        let _ = self.work.send(Box::new(second));
        self.handle
    }
}

fn this_thread() -> pthread_t {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::pthread_self() }
}

/// The CPUs that a thread may use; none where the host does not tell. The thread has not been joined.
fn allowed(thread: pthread_t) -> Option<cpu_set_t> {
    // SAFETY: an empty set is all zeroes.
    let mut set: cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the thread's id is valid until it is joined; the set is as large as it is said to be.
    let error = unsafe { libc::pthread_getaffinity_np(thread, size_of::<cpu_set_t>(), &raw mut set) };
    (error == 0).then_some(set)
}

/// Says which CPUs a thread, which has not been joined, may use. A host that refuses leaves it where it is.
fn allow(thread: pthread_t, set: &cpu_set_t) {
    // SAFETY: the thread's id is valid until it is joined; the set is as large as it is said to be and only read.
    unsafe { libc::pthread_setaffinity_np(thread, size_of::<cpu_set_t>(), set) };
}

/// The CPUs of `set` but the caller's, if there is any.
fn without_this_cpu(set: &cpu_set_t) -> Option<cpu_set_t> {
    let mut others = *set;
    // SAFETY: takes nothing.
    let here = usize::try_from(unsafe { libc::sched_getcpu() }).ok()?;
    // SAFETY: a number past the end of the set is ignored.
    unsafe { libc::CPU_CLR(here, &mut others) };
    // SAFETY: only reads the set.
    (unsafe { libc::CPU_COUNT(&others) } > 0).then_some(others)
}

#[cfg(test)]
mod tests;
