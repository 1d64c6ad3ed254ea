//! Who moves the bytes of a disk: many operations at once, finished in any order.
//!
//! Owns: the contract ([`Engine`]) and the choice between io_uring and a pool of threads. Stays outside: what an
//! operation is for (`flight`), and which requests there are (`device`).
//! Invariants: every operation that was pushed comes back exactly once from [`Engine::reap`]; an engine that is
//! dropped has none left.
//!
//! | file | job |
//! |---|---|
//! | `uring` | io_uring: one system call for many operations |
//! | `threads` | `preadv2` and friends on threads, where the host refuses io_uring |

mod threads;
mod uring;

use std::io;
use std::os::fd::RawFd;

use crate::sandbox::ThreadFilter;

/// Which engine a disk uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// io_uring, or threads where the host refuses it.
    #[default]
    Auto,
    /// io_uring only.
    Uring,
    /// Threads only.
    Threads,
}

/// A list of I/O vectors. The one who makes it keeps it valid and in place until the operation is done.
#[derive(Clone, Copy, Debug)]
pub struct Vectors {
    /// The first one.
    pub first: *const libc::iovec,
    /// How many; at most 1024.
    pub count: u32,
}

/// What to do with a file.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Fill the vectors from `offset` bytes.
    Read(Vectors, u64),
    /// Read the byte at `offset` bytes for nothing but to know when it is there.
    Look(u64),
    /// Write the vectors at `offset` bytes.
    Write(Vectors, u64),
    /// The same, stable on completion.
    WriteThrough(Vectors, u64),
    /// Make completed writes stable.
    Sync,
    /// `fallocate` with `mode` on `len` bytes at `offset`.
    Allocate {
        /// FALLOC_FL_*.
        mode: i32,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Names the operation to the caller.
    pub slot: u16,
    /// The file.
    pub fd: RawFd,
    /// What to do.
    pub op: Op,
}

// SAFETY: whoever pushes a job promises that its vectors stay valid until it is done, on whatever thread.
unsafe impl Send for Job {}

/// An operation that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// As in its [`Job`].
    pub slot: u16,
    /// Bytes moved, or a negative error number.
    pub result: i32,
}

/// See the module documentation.
pub trait Engine: Send {
    /// Takes an operation. It need not begin before [`Engine::submit`].
    ///
    /// # Safety
    /// The descriptor stays open, and the vectors and what they point at stay valid, until the operation has come
    /// back from [`Engine::reap`]. No more than the engine's capacity are under way.
    unsafe fn push(&mut self, job: Job);

    /// Starts what was pushed. Returns false when the host is short of memory; then it must be called again.
    fn submit(&mut self) -> bool;

    /// Adds what is over to `done`. Does not block.
    fn reap(&mut self, done: &mut Vec<Done>);

    /// Blocks until [`Engine::reap`] has something. At least one operation must be under way.
    fn wait(&mut self);

    /// Readable while [`Engine::reap`] has something.
    fn event(&self) -> RawFd;
}

/// An engine of this kind for up to `capacity` operations. Threads that it starts enter `helpers` first.
pub fn open(kind: EngineKind, capacity: u16, helpers: Option<ThreadFilter>) -> io::Result<Box<dyn Engine>> {
    match kind {
        EngineKind::Uring => Ok(Box::new(uring::Uring::new(capacity)?)),
        EngineKind::Threads => Ok(Box::new(threads::Threads::new(helpers)?)),
        EngineKind::Auto => match uring::Uring::new(capacity) {
            Ok(engine) => Ok(Box::new(engine)),
            Err(_) => Ok(Box::new(threads::Threads::new(helpers)?)),
        },
    }
}

#[cfg(test)]
mod tests;
