//! The end of a process one of whose threads made a forbidden system call.
//!
//! Owns: the handler of SIGSYS. It runs on the thread that broke its filter, so it must do with what every filter
//! allows: one write and the exit.
//! Invariants: nothing here allocates or locks, because the signal comes at any point of a program that may be broken.

use std::cell::Cell;
use std::io;
use std::mem;
use std::ptr;
use std::sync::OnceLock;

use super::names;

/// Exit status of a process that made a forbidden call: 128 + SIGSYS, as a shell shows a death by that signal.
pub const FORBIDDEN_STATUS: u8 = 159;

/// `si_code` of a SIGSYS that a filter sent.
const SYS_SECCOMP: libc::c_int = 1;
/// Room for the line; longer ones would lose their end.
const LINE: usize = 256;

thread_local! {
    static THREAD: Cell<&'static str> = const { Cell::new("unnamed") };
}

/// The head of `siginfo_t` of a SIGSYS; libc's type keeps it to itself.
#[repr(C)]
struct SysInfo {
    signal: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    padding: libc::c_int,
    call_address: *const libc::c_void,
    call: libc::c_int,
    architecture: libc::c_uint,
}

/// Has forbidden calls of this process reported; once is enough.
pub(super) fn install() -> io::Result<()> {
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    DONE.get_or_init(set_handler).map_err(io::Error::from_raw_os_error)
}

fn set_handler() -> Result<(), i32> {
    // SAFETY: an action is plain data, and all zeros is one: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_forbidden_call as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the action is complete and its handler keeps to what a handler may do; the old one is not asked for.
    let result = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
}

/// How the calling thread is called in the report.
pub(super) fn set_thread_name(name: &'static str) {
    THREAD.set(name);
}

extern "C" fn on_forbidden_call(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a complete `siginfo_t`, and `SysInfo` is its layout for this signal.
    let info = unsafe { &*info.cast::<SysInfo>() };
    if info.code == SYS_SECCOMP {
        let line = report(THREAD.get(), info.call);
        // SAFETY: the buffer is valid for its length. Where the line cannot be written, the status still tells.
        unsafe { libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.used) };
    }
    // SAFETY: ends the process at once, without anything of it running again.
    unsafe { libc::_exit(FORBIDDEN_STATUS.into()) };
}

/// A line put together without the heap.
struct Line {
    bytes: [u8; LINE],
    used: usize,
}

impl Line {
    fn push(&mut self, text: &str) {
        let room = self.bytes.get_mut(self.used..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(text.as_bytes()) {
            *to = *from;
            self.used += 1;
        }
    }

    fn push_number(&mut self, number: u32) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        let digit = [b'0' + (number % 10) as u8];
        self.push(str::from_utf8(&digit).unwrap_or_default());
    }
}

/// The line about a call that thread `thread` must not make.
fn report(thread: &str, call: libc::c_int) -> Line {
    let mut line = Line { bytes: [0; LINE], used: 0 };
    line.push("vmm: the ");
    line.push(thread);
    line.push(" thread made the forbidden system call ");
    line.push(names::of(call.into()).unwrap_or("number "));
    if names::of(call.into()).is_none() {
        line.push_number(call.unsigned_abs());
    }
    line.push("; the machine was stopped. Report it, or run with --no-seccomp if you trust the guest\n");
    line
}

#[cfg(test)]
mod tests;
