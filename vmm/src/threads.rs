//! Where a new thread begins.
//!
//! Linux puts a new thread into the queue of the CPU that made it. There it waits until that CPU has nothing better to
//! do, or for a balancer's tick, which takes milliseconds, while other CPUs are idle. A vCPU that is started by a thread
//! with more to do must not wait for that one.

use std::io;
use std::mem::size_of;
use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;

use libc::cpu_set_t;

/// Has a thread that was just started begin on another CPU than the caller's, if it may use any other. Where it runs
/// afterwards is for the host to say, as ever. Fails when the host does not tell or change where threads may run.
pub fn begin_elsewhere(thread: &JoinHandle<()>) -> io::Result<()> {
    // SAFETY: an empty set is all zeroes.
    let mut allowed: cpu_set_t = unsafe { std::mem::zeroed() };
    let thread = thread.as_pthread_t();
    // SAFETY: the handle is not joined, so the thread's id is valid; the set is as large as it is said to be.
    check(unsafe { libc::pthread_getaffinity_np(thread, size_of::<cpu_set_t>(), &raw mut allowed) })?;
    // SAFETY: takes nothing.
    let here = usize::try_from(unsafe { libc::sched_getcpu() }).map_err(|_| io::Error::last_os_error())?;
    let mut others = allowed;
    // SAFETY: a CPU number past the end of the set is ignored.
    unsafe { libc::CPU_CLR(here, &mut others) };
    // SAFETY: only reads the set.
    if unsafe { libc::CPU_COUNT(&others) } == 0 {
        return Ok(());
    }
    for set in [others, allowed] {
        // SAFETY: as above.
        check(unsafe { libc::pthread_setaffinity_np(thread, size_of::<cpu_set_t>(), &raw const set) })?;
    }
    Ok(())
}

fn check(error: libc::c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
