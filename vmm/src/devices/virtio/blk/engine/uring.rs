//! Operations by io_uring.
//!
//! Owns: the ring. System calls of the threads that use it: `io_uring_enter`, and `poll` on the ring's descriptor;
//! `io_uring_setup`, `io_uring_register` and `mmap` once at the start. The kernel's own workers for what would block (`fallocate`,
//! `fdatasync`, a buffered read that misses the page cache) are no threads of ours for seccomp.
//! Files are not registered with the ring, though an operation would be 3% cheaper: the kernel takes a ring apart after its
//! process is gone, and until then the image would stay locked.
//! Invariants: the ring has room for as many operations as are ever under way, so neither queue overflows.

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, squeue, types};

use super::{Done, Engine, Job, Op, Vectors};

/// All that the ring will ever do. It can open nothing, which the threads' own filters could not prevent.
const OPCODES: [u8; 6] = [
    opcode::Read::CODE,
    opcode::Readv::CODE,
    opcode::Write::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
    opcode::Fallocate::CODE,
];

/// See the module documentation.
pub struct Uring {
    ring: IoUring,
    /// Operations that the kernel has not given back yet.
    under_way: usize,
    /// Where the kernel puts what was looked at. Nobody reads it.
    looked: Box<UnsafeCell<u8>>,
}

impl Uring {
    /// A ring for up to `capacity` operations. Fails where the host refuses io_uring.
    pub fn new(capacity: u16) -> io::Result<Self> {
        let ring = IoUring::builder().dontfork().setup_r_disabled().build(capacity.into())?;
        let mut allowed = OPCODES.map(Restriction::sqe_op);
        ring.submitter().register_restrictions(&mut allowed)?;
        ring.submitter().register_enable_rings()?;
        Ok(Self { ring, under_way: 0, looked: Box::default() })
    }
}

/// What the ring is told of `job`; a look goes to `looked`.
fn entry(job: &Job, looked: *mut u8) -> squeue::Entry {
    let fd = types::Fd(job.fd);
    match job.op {
        Op::Read(vectors, offset) => match single(vectors) {
            Some((at, len)) => opcode::Read::new(fd, at, len).offset(offset).build(),
            None => opcode::Readv::new(fd, vectors.first, vectors.count).offset(offset).build(),
        },
        Op::Look(offset) => opcode::Read::new(fd, looked, 1).offset(offset).build(),
        Op::Write(vectors, offset) => match single(vectors) {
            Some((at, len)) => opcode::Write::new(fd, at, len).offset(offset).build(),
            None => opcode::Writev::new(fd, vectors.first, vectors.count).offset(offset).build(),
        },
        Op::WriteThrough(vectors, offset) => {
            let write = opcode::Writev::new(fd, vectors.first, vectors.count);
            write.offset(offset).rw_flags(libc::RWF_DSYNC).build()
        }
        Op::Sync => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
        Op::Allocate { mode, offset, len } => {
            opcode::Fallocate::new(fd, len).offset(offset).mode(mode).build()
        }
    }
}

/// The only vector of a list: the kernel then has no list to copy.
fn single(vectors: Vectors) -> Option<(*mut u8, u32)> {
    if vectors.count != 1 {
        return None;
    }
    // SAFETY: by the contract of `Engine::push`, under which every job is made into an entry.
    let vector = unsafe { *vectors.first };
    Some((vector.iov_base.cast(), u32::try_from(vector.iov_len).ok()?))
}

impl Engine for Uring {
    unsafe fn push(&mut self, job: Job) {
        let entry = entry(&job, self.looked.get()).user_data(job.slot.into());
        // SAFETY: by the caller, everything that the entry points at stays valid until it is done. So does `looked`, which is
        // dropped after all operations are over.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // The capacity is the caller's promise; a queue that is full for now empties by submitting.
            self.submit();
        }
        self.under_way += 1;
    }

    fn submit(&mut self) -> bool {
        if self.ring.submission().is_empty() {
            return true;
        }
        match self.ring.submit() {
            Ok(_) => self.ring.submission().is_empty(),
            Err(_) => false,
        }
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        let before = done.len();
        // The slot came from a `u16`.
        let entries = self.ring.completion();
        done.extend(entries.map(|entry| Done { slot: entry.user_data() as u16, result: entry.result() }));
        self.under_way -= (done.len() - before).min(self.under_way);
    }

    fn wait(&mut self) {
        // An interrupted wait is repeated by the caller, who looks for completions first.
        let _ = self.ring.submit_and_wait(1);
    }

    fn event(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Drop for Uring {
    /// The kernel goes on with what it has when a ring is closed; the memory behind it must outlive that.
    fn drop(&mut self) {
        let mut done = Vec::new();
        while self.under_way > 0 {
            self.wait();
            self.reap(&mut done);
        }
    }
}
