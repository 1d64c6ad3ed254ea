//! Where a new thread begins.
//!
//! Linux puts a new thread into the queue of the CPU that made it. There it waits until that CPU has nothing better to
//! do, or pushes its maker aside; a balancer that moves one of the two to an idle CPU comes milliseconds later. A guest
//! boots in less.

use std::io;
use std::mem::size_of;
use std::os::unix::thread::JoinHandleExt;
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use libc::{cpu_set_t, pthread_t};

/// Starts a thread beside its maker: it begins on another CPU if it may use any, and the maker goes on where it is.
/// Where the thread runs afterwards is for the host to say, as ever. Fails when the host has no thread left.
pub fn spawn_beside(builder: Builder, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let placed = Arc::new(OnceLock::new());
    let gate = Arc::clone(&placed);
    let begin = move || {
        // A thread that begins too early waits here, and its maker goes on.
        if let Some(allowed) = gate.wait() {
            allow(this_thread(), allowed);
        }
        run();
    };
    let thread = builder.spawn(begin)?;
    let id = thread.as_pthread_t();
    let allowed = allowed(id);
    if let Some(others) = allowed.as_ref().and_then(without_this_cpu) {
        allow(id, &others);
    }
    let _ = placed.set(allowed);
    Ok(thread)
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
