//! What the threads of the monitor may still ask of the host once the guest runs.
//!
//! A guest that takes over a thread of the monitor must not get further: every thread has a seccomp filter with the
//! system calls of its job and no others. No filter lets a thread make a socket, start a thread or a program, or make
//! memory executable, and none but the watcher's lets it open a file: everything a machine needs is open before its
//! first instruction. The watcher serves no device; it makes the files of `--procfs` and `--report`, and can read none.
//!
//! Owns: the filters ([`policy`]) and what happens to a thread that breaks its own ([`trap`]). Stays outside: when a
//! thread enters its filter; that is the first thing it does when its job begins.
//! Invariants: a filter cannot be taken off again, not even by the thread itself, and holds for all the thread would
//! start. A thread that cannot get its filter does not begin its job.
//!
//! A forbidden call ends the whole process with one line that names the call, and with status 159. That is what a
//! shell makes of a death by SIGSYS, and a status no guest can bring about. The call traps instead of killing at once
//! because a bare "Bad system call" would tell nobody which call a new libc has begun to make.
//!
//! Source: Linux `Documentation/userspace-api/seccomp_filter.rst`.

mod dispatch;
mod names;
mod policy;
mod trap;

use std::io;
use std::sync::Arc;

use seccompiler::BpfProgram;

pub use trap::FORBIDDEN_STATUS;

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The event loop, which serves the devices and ends the machine.
    Main,
    /// A vCPU.
    Vcpu,
    /// The writer of the console's output.
    Console,
    /// A disk: serves its queues.
    Disk,
    /// A helper of a disk that does its I/O, where the host refuses io_uring.
    DiskHelper,
    /// The thread that reads the guest's numbers and writes `--procfs` and `--report`.
    Watcher,
    /// The event loop beside a QEMU with this process id.
    Qemu(u32),
}

impl Role {
    /// The role in a message.
    fn name(self) -> &'static str {
        match self {
            Self::Main | Self::Qemu(_) => "main",
            Self::Vcpu => "vCPU",
            Self::Console => "console",
            Self::Disk => "disk",
            Self::DiskHelper => "disk helper",
            Self::Watcher => "watcher",
        }
    }
}

/// Why a thread has no filter.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The rules make no filter.
    #[error("the system call filter of the {0} thread cannot be made: {1}; use --no-seccomp to run without")]
    Compile(&'static str, String),
    /// The host takes no filter.
    #[error(
        "this host refuses the system call filter of the {0} thread: {1}; use a kernel with seccomp, or --no-seccomp \
         to run without"
    )]
    Install(&'static str, String),
    /// Forbidden calls cannot be reported.
    #[error("cannot watch for forbidden system calls: {0}; use --no-seccomp to run without filters")]
    Handler(#[source] io::Error),
}

/// Whether threads get filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// They do.
    On,
    /// They do not: for debugging, and for hosts without seccomp.
    Off,
}

impl Sandbox {
    /// Makes the filter of threads with this role.
    pub fn filter(self, role: Role) -> Result<ThreadFilter, SandboxError> {
        if self == Self::Off {
            return Ok(ThreadFilter { role, program: None });
        }
        trap::install().map_err(SandboxError::Handler)?;
        keep_heap();
        let program = policy::compile(role);
        let program = program.map_err(|error| SandboxError::Compile(role.name(), error.to_string()))?;
        Ok(ThreadFilter { role, program: Some(program.into()) })
    }
}

/// Keeps free heap in the process: before libc gives back the heap of a thread it opens a file of `/proc`, which no
/// filter lets it.
fn keep_heap() {
    // SAFETY: takes two integers and changes a threshold of the allocator. A libc without it returns 0.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) };
}

/// The filter of one kind of thread, made before the thread needs it.
#[derive(Debug, Clone)]
pub struct ThreadFilter {
    role: Role,
    program: Option<Arc<BpfProgram>>,
}

impl ThreadFilter {
    /// From here on the calling thread can only do what its role allows, for ever.
    pub fn enter(&self) -> Result<(), SandboxError> {
        let Some(program) = &self.program else { return Ok(()) };
        trap::set_thread_name(self.role.name());
        seccompiler::apply_filter(program)
            .map_err(|error| SandboxError::Install(self.role.name(), error.to_string()))
    }
}

#[cfg(test)]
mod tests;
